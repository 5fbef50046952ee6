//! What is inside the layers.

use super::layer::{Data, Entry, Layer};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// `ipcs` and `pgrep` are in no Debian busybox.
const IPCS: &str = "#!/bin/sh\ncat /proc/sysvipc/shm\n";
const PGREP: &str = "#!/bin/sh
found=1
for comm in /proc/[0-9]*/comm; do
    read -r name <\"$comm\" || continue
    case $name in *\"$1\"*) pid=${comm#/proc/}; echo \"${pid%/comm}\"; found=0 ;; esac
done 2>/dev/null
exit $found
";

/// Debian's dynamic busybox under all its names.
///
/// Hard links, not symbolic ones: a spec binds /dev/null over /bin/ls and expects only `ls` to be
/// gone. The shell is not FEATURE_SH_STANDALONE for the same reason.
pub fn busybox(applets: &[String]) -> Layer {
    let mut layer = Layer::default()
        .debian("bin/busybox", "bin/busybox")
        .debian("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
        .debian("lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libc.so.6")
        .debian("lib/x86_64-linux-gnu/libresolv.so.2", "lib/x86_64-linux-gnu/libresolv.so.2")
        .text("etc/passwd", PASSWD)
        .text("etc/group", GROUP)
        .add("bin/ipcs", Entry::File(0o755, Data::Text(IPCS.into())))
        .add("bin/pgrep", Entry::File(0o755, Data::Text(PGREP.into())))
        .add("tmp", Entry::Dir(0o1777))
        .add("root", Entry::Dir(0o700));
    for empty in ["dev", "proc", "sys", "var/run"] {
        layer = layer.add(empty, Entry::Dir(0o755));
    }
    for applet in applets.iter().filter(|name| *name != "busybox") {
        layer = layer.add(&format!("bin/{applet}"), Entry::HardLink("bin/busybox"));
    }
    layer
}

/// nginx with its libraries, on top of [`busybox`].
pub fn nginx(port: u16) -> Layer {
    let conf = format!(
        "user www-data;\nworker_processes 1;\npid /var/run/nginx.pid;\nerror_log /dev/stderr;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n    access_log /dev/stdout;\n    server {{\n        listen {port};\n        \
         root /usr/share/nginx/html;\n    }}\n}}\n"
    );
    let mut layer = Layer::default()
        .debian("usr/sbin/nginx", "usr/sbin/nginx")
        .debian(&lib("libssl.so.3"), "usr/lib/x86_64-linux-gnu/libssl.so.3")
        .debian(&lib("libcrypto.so.3"), "usr/lib/x86_64-linux-gnu/libcrypto.so.3")
        .debian(&lib("libpcre2-8.so.0"), "usr/lib/x86_64-linux-gnu/libpcre2-8.so.0")
        .debian(&lib("libcrypt.so.1"), "lib/x86_64-linux-gnu/libcrypt.so.1")
        .debian(&lib("libz.so.1"), "lib/x86_64-linux-gnu/libz.so.1")
        .text("etc/nginx/nginx.conf", &conf)
        .text("usr/share/nginx/html/index.html", "<h1>Welcome to nginx!</h1>\n");
    for empty in ["var/lib/nginx", "var/log/nginx"] {
        layer = layer.add(empty, Entry::Dir(0o755));
    }
    layer
}

fn lib(name: &str) -> String {
    format!("lib/x86_64-linux-gnu/{name}")
}

/// The page that busybox' httpd serves.
pub fn httpd() -> Layer {
    Layer::default().text("usr/local/www/index.html", "It works!\n")
}

/// A setuid program that tells its effective uid.
pub fn nonewprivs() -> Layer {
    let nnp = Data::Program("nnp", include_str!("../../programs/nnp.c"));
    Layer::default().add("usr/bin/nnp", Entry::File(0o6755, nnp))
}

/// A user who is in a group that only the image knows.
pub fn predefined_group() -> Layer {
    Layer::default()
        .text("etc/passwd", &format!("{PASSWD}default-user:x:1000:1000::/home:/bin/sh\n"))
        .text(
            "etc/group",
            &format!("{GROUP}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"),
        )
}

/// A sandbox image; `tag` gives each its own image id.
pub fn pause(tag: &str) -> Layer {
    let pause = Data::Program("pause", include_str!("../../programs/pause.c"));
    Layer::default().add("pause", Entry::File(0o755, pause)).text("etc/pause-version", tag)
}

/// An empty file that makes one image differ from the next.
pub fn marker(name: &str) -> Layer {
    Layer::default().text(name, "")
}

/// The workloads of our own tests: a few static programs and nothing else.
pub fn work() -> Layer {
    let work = Data::Program("work", include_str!("../../programs/work.c"));
    let mut layer = Layer::default()
        .add("bin/work", Entry::File(0o755, work))
        .text("etc/passwd", PASSWD)
        .text("etc/group", GROUP)
        .add("tmp", Entry::Dir(0o1777));
    for verb in ["sleeper", "stubborn", "true", "exit", "lines", "blocks", "numbers", "serve"] {
        layer = layer.add(&format!("bin/{verb}"), Entry::HardLink("bin/work"));
    }
    layer
}

/// A shell, and programs that wait and that read, with a list of what an interpreter imports.
pub fn reads(list: &str) -> Layer {
    let work = Data::Program("work", include_str!("../../programs/work.c"));
    let reads = Data::Program("reads", include_str!("../../programs/reads.c"));
    busybox(&["sh".to_owned()])
        .add("bin/work", Entry::File(0o755, work))
        .add("bin/reads", Entry::File(0o755, reads))
        .text("srv/modules", list)
}
