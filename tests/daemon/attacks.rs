//! Images that are made to let the host open, follow or read what it should not: each is refused by
//! name or harmless, and none keeps anybody waiting.

use crate::foreign_image::{Entry, import, layer};
use crate::suite::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rrun_cri_api::Cri;
use rrun_cri_api::v1::*;
use rrun_tests::harness::WORK;
use rrun_tests::sandbox::in_mounts_of;
use std::path::Path;
use tonic::{Code, Status};

/// What a file of accounts is made of that is none, and what is said of it.
const NO_FILES: [(Entry, &str); 6] = [
    (Entry::Zero, "not a regular file"),
    (Entry::Fifo, "not a regular file"),
    (Entry::Folder, "not a regular file"),
    (Entry::Link("passwd"), "Too many levels of symbolic links"),
    (Entry::Link("/proc/self/environ"), "is not in the container's"),
    (Entry::Bytes((8 << 20) + 1), "File too large"),
];

/// Creates a container and removes it and its image again; what is said of its start, which
/// cannot succeed because the images have no program, is told too.
async fn create_and_start(
    suite: &Suite,
    pod: &(String, PodSandboxConfig),
    image: String,
    change: impl FnOnce(&mut ContainerConfig),
) -> Result<Status, Status> {
    let mut config = suite.harness.container("attacks", &image, &["/bin/true"]);
    change(&mut config);
    let created = suite.create(&pod.0, config, &pod.1);
    let created = tokio::time::timeout(PATIENCE, created).await.unwrap();
    let mut started = None;
    if let Ok(id) = &created {
        started = suite.start_container(id).await.err();
        let request = RemoveContainerRequest { container_id: id.clone() };
        suite.harness.client.remove_container(request).await.unwrap();
    }
    let image = Some(ImageSpec { image, ..Default::default() });
    suite.harness.client.remove_image(RemoveImageRequest { image }).await.unwrap();
    created.map(|_| started.unwrap())
}

async fn start(suite: &Suite) -> (String, PodSandboxConfig) {
    let config = suite.harness.pod("attacked");
    (suite.run_pod(&config).await, config)
}

async fn nothing_left(suite: &Suite, pod: &str) {
    suite.remove(pod).await;
    suite.until_clean();
}

#[tokio::test]
async fn accounts_that_are_no_plain_files_of_the_image_are_refused_by_name() {
    let suite = Suite::start().await;
    let pod = start(&suite).await;
    for (file, user) in [("passwd", "web"), ("group", "0:web")] {
        for (entry, words) in NO_FILES {
            // The link leads to itself in either case.
            let entry = match entry {
                Entry::Link("passwd") => Entry::Link(file),
                other => other,
            };
            let path = format!("etc/{file}");
            let entries = [("etc", Entry::Folder), (path.as_str(), entry)];
            let image = import(&suite, "accounts", user, &layer(&entries)).await;
            let refused = create_and_start(&suite, &pod, image, |_| {}).await.unwrap_err();
            let message = refused.message();
            assert!(message.contains(&format!("/etc/{file}")), "{entry:?}: {refused}");
            assert!(message.contains(words), "{entry:?}: {refused}");
            assert_eq!(refused.code(), Code::InvalidArgument, "{entry:?}: {refused}");
        }
    }
    nothing_left(&suite, &pod.0).await;
}

#[tokio::test]
async fn a_working_directory_that_is_none_is_refused_by_name_and_a_link_stays_in_the_image() {
    let suite = Suite::start().await;
    let pod = start(&suite).await;
    for (entry, works) in [
        (Entry::Zero, false),
        (Entry::Fifo, false),
        (Entry::Text("file"), false),
        (Entry::Link("place"), false),
        // In the image there is no such folder: it is made there.
        (Entry::Link("/../../../attacked"), true),
        (Entry::Folder, true),
    ] {
        let image = import(&suite, "place", "", &layer(&[("place", entry)])).await;
        let created =
            create_and_start(&suite, &pod, image, |c| c.working_dir = "/place".to_owned()).await;
        let refused = created.unwrap_or_else(|refused| refused);
        let words = if works { "/bin/true" } else { "/place" };
        assert!(refused.message().contains(words), "{entry:?}: {refused}");
        assert!(!Path::new("/attacked").exists(), "made on the host");
    }
    nothing_left(&suite, &pod.0).await;
}

#[tokio::test]
async fn a_mount_at_what_is_no_folder_of_the_image_is_refused_by_name_or_stays_in_it() {
    let suite = Suite::start().await;
    let pod = start(&suite).await;
    let volume = suite.harness.sandbox().root().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let mount = Mount {
        host_path: volume.to_string_lossy().into_owned(),
        container_path: "/target".to_owned(),
        ..Default::default()
    };
    for (entry, works) in [
        (Entry::Zero, false),
        (Entry::Fifo, false),
        (Entry::Text("file"), false),
        (Entry::Link("target"), false),
        (Entry::Link("/../../../attacked"), true),
        (Entry::Folder, true),
    ] {
        let image = import(&suite, "target", "", &layer(&[("target", entry)])).await;
        let created =
            create_and_start(&suite, &pod, image, |c| c.mounts = vec![mount.clone()]).await;
        match created {
            Ok(_) => assert!(works, "{entry:?} is taken"),
            Err(refused) => {
                assert!(!works, "{entry:?}: {refused}");
                assert!(refused.message().contains("/target"), "{entry:?}: {refused}");
            }
        }
        assert!(!Path::new("/attacked").exists(), "made on the host");
    }
    std::fs::remove_dir(&volume).unwrap();
    nothing_left(&suite, &pod.0).await;
}

#[tokio::test]
async fn a_mount_over_proc_or_within_it_is_refused_by_name() {
    let suite = Suite::start().await;
    let pod = start(&suite).await;
    let folder = suite.harness.sandbox().root().join("fake");
    std::fs::create_dir_all(folder.join("sys/kernel")).unwrap();
    let file = folder.join("exec");
    std::fs::write(&file, "").unwrap();
    let no_procfs = "what is mounted there is no procfs";
    for (host_path, container_path, words) in [
        (&folder, "/proc", no_procfs),
        (&folder, "/proc/sys/kernel", "it is inside /proc"),
        (&file, "/proc/self/attr/exec", "it is inside /proc"),
        (&file, "/proc/sys/kernel/core_pattern", "it is inside /proc"),
        // Links of the image: one leads into /proc, the other lets it lie elsewhere.
        (&folder, "/link/sys", "it is inside a procfs"),
    ] {
        let image = import(&suite, "proc", "", &layer(&[("link", Entry::Link("/proc"))])).await;
        let mount = Mount {
            host_path: host_path.to_string_lossy().into_owned(),
            container_path: container_path.to_owned(),
            ..Default::default()
        };
        // In a PID namespace of its own: where one is joined, /proc comes last and covers what is
        // below it.
        let own = NamespaceOption { pid: NamespaceMode::Container as i32, ..Default::default() };
        let change = |c: &mut ContainerConfig| {
            c.mounts = vec![mount];
            c.linux.as_mut().unwrap().security_context = Some(LinuxContainerSecurityContext {
                namespace_options: Some(own),
                ..Default::default()
            });
        };
        let created = create_and_start(&suite, &pod, image, change).await;
        let Err(refused) = created else { panic!("{container_path} is taken") };
        let message = refused.message();
        assert!(message.contains(container_path), "{container_path}: {refused}");
        assert!(message.contains(words), "{container_path}: {refused}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    nothing_left(&suite, &pod.0).await;
}

/// A file system in the place of a part of the host's procfs, where the daemon and its shims are.
/// Dropped, it is gone.
struct Overmount {
    pid: u32,
    at: String,
}

impl Overmount {
    fn new(suite: &Suite, at: &str) -> Overmount {
        let pid = suite.harness.sandbox().pid();
        let none = None::<&str>;
        in_mounts_of(pid, || mount(Some("fake"), at, Some("tmpfs"), MsFlags::empty(), none));
        Overmount { pid, at: at.to_owned() }
    }
}

impl Drop for Overmount {
    fn drop(&mut self) {
        in_mounts_of(self.pid, || umount2(&*self.at, MntFlags::MNT_DETACH));
    }
}

#[tokio::test]
async fn what_is_mounted_over_the_hosts_procfs_takes_no_write_of_a_pod_and_is_refused_by_name() {
    let suite = Suite::start().await;
    let config = suite.harness.pod("stands");
    let (pod, main) = suite.run("stands", &["/bin/sleeper"]).await;
    let mut with_sysctl = suite.harness.pod("sysctl");
    let sysctl = ("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned());
    with_sysctl.linux.as_mut().unwrap().sysctls = [sysctl].into();
    let run = async |config: &PodSandboxConfig| {
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        suite.harness.client.run_pod_sandbox(request).await
    };
    // A part of it: the write goes nowhere, and is not taken for done.
    for at in ["/proc/sys", "/proc/sys/net"] {
        let overmount = Overmount::new(&suite, at);
        let refused = run(&with_sysctl).await.unwrap_err();
        assert!(refused.message().contains("ip_unprivileged_port_start"), "{at}: {refused}");
        assert!(refused.message().contains("EXDEV"), "{at}: {refused}");
        drop(overmount);
    }
    // The whole: nothing of a container is set through it.
    let overmount = Overmount::new(&suite, "/proc");
    let container = suite.harness.container("late", WORK, &["/bin/sleeper"]);
    let refused = suite.create(&pod, container.clone(), &config).await.unwrap_err();
    assert!(refused.message().contains("open /proc: EXDEV"), "{refused}");
    let refused = suite.exec(&main, &["/bin/true"], 10).await.unwrap_err();
    assert!(refused.message().contains("open /proc: EXDEV"), "{refused}");
    drop(overmount);
    let late = suite.create(&pod, container, &config).await.unwrap();
    suite.start_container(&late).await.unwrap();
    assert_eq!(suite.exec(&main, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    let other = run(&with_sysctl).await.unwrap().pod_sandbox_id;
    suite.remove(&other).await;
    nothing_left(&suite, &pod).await;
}
