//! The first process of a PID namespace that a pod's containers share: it sleeps.
//!
//! Orphans become its children, and the kernel reaps them, for SIGCHLD is ignored since before
//! its execve. It has no library, no memory of its own but a stack, and nothing in it is worth
//! reading for the containers that can see it.
#![no_std]
#![no_main]

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Where the kernel jumps to.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        // SAFETY: a system call that waits for a signal; it changes no memory.
        unsafe { wait() };
    }
}

/// pause(2)
#[cfg(target_arch = "x86_64")]
unsafe fn wait() {
    // SAFETY: 34 is pause; the kernel changes rax, rcx and r11.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") 34_u64 => _, out("rcx") _, out("r11") _);
    }
}

/// ppoll(2) of nothing, for ever: this architecture has no pause.
#[cfg(target_arch = "aarch64")]
unsafe fn wait() {
    // SAFETY: 73 is ppoll; no descriptors, no time, no mask.
    unsafe {
        core::arch::asm!("svc 0", in("x8") 73_u64, inlateout("x0") 0_u64 => _, in("x1") 0_u64,
            in("x2") 0_u64, in("x3") 0_u64, in("x4") 0_u64);
    }
}
