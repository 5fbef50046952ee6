//! Which Linux security modules are active here.

use std::path::Path;

/// AppArmor is compiled in and switched on.
pub fn apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with(b"Y"))
}

/// SELinux has a policy and its file system is mounted.
pub fn selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
