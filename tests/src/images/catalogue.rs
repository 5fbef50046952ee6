//! The table: every image that critest pulls, and our own.

use super::layer::Layer;
use super::manifest::{Config, Format};
use super::rootfs;

/// The hosts whose images the registry mirrors. `images.rrun.test` is ours: no such host exists.
pub const HOSTS: [&str; 5] =
    ["registry.k8s.io", "k8s.gcr.io", "gcr.io", "public.ecr.aws", "images.rrun.test"];

/// One image, possibly under several names.
#[derive(Clone, Debug)]
pub struct Image {
    /// References with host and tag; all point at the same index.
    pub names: Vec<String>,
    /// Media types.
    pub format: Format,
    /// Entry point, command, user.
    pub config: Config,
    /// Lowest first.
    pub layers: Vec<Layer>,
}

const SH: Config = Config { entrypoint: &[], cmd: &["sh"], user: "" };
const HTTPD: &str = "echo httpd starting; exec busybox httpd -f -v -p 80 -h /usr/local/www";
const STAGING: &str = "gcr.io/k8s-staging-cri-tools";

/// Every test image; `applets` are the names that this Debian's busybox answers to.
pub fn catalogue(applets: &[String]) -> Vec<Image> {
    let base = rootfs::busybox(applets);
    let mut images = e2e(&base);
    images.extend(sandbox());
    images.extend(staging(&base));
    images.extend(benchmark(&base));
    images.push(Image {
        names: vec!["images.rrun.test/work:latest".into(), "images.rrun.test/work:1".into()],
        format: Format::Oci,
        config: Config { entrypoint: &[], cmd: &["/bin/sleeper"], user: "" },
        layers: vec![rootfs::work()],
    });
    images
}

fn e2e(base: &Layer) -> Vec<Image> {
    let image = |name: &str, config, layers| Image {
        names: vec![format!("registry.k8s.io/e2e-test-images/{name}")],
        format: Format::Docker,
        config,
        layers,
    };
    vec![
        image("busybox:1.29-2", SH, vec![base.clone()]),
        image("nginx:1.14-2", nginx(), vec![base.clone(), rootfs::nginx(80)]),
        image(
            "httpd:2.4.39-4",
            Config { cmd: &["sh", "-c", HTTPD], ..Config::default() },
            vec![base.clone(), rootfs::httpd()],
        ),
        image(
            "nonewprivs:1.3",
            Config { entrypoint: &["/usr/bin/nnp"], ..Config::default() },
            vec![base.clone(), rootfs::nonewprivs()],
        ),
    ]
}

fn nginx() -> Config {
    Config { cmd: &["nginx", "-g", "daemon off;"], ..Config::default() }
}

/// Sandbox images of the peers, and the two names of one image that a spec removes.
fn sandbox() -> Vec<Image> {
    let image = |tag: &str, names: &[&str]| Image {
        names: names.iter().map(|name| format!("{name}/pause:{tag}")).collect(),
        format: Format::Docker,
        config: Config { entrypoint: &["/pause"], cmd: &[], user: "65535:65535" },
        layers: vec![rootfs::pause(tag)],
    };
    let mut images = vec![image("3.9", &["registry.k8s.io", "k8s.gcr.io"])];
    for tag in ["3.6", "3.10", "3.10.1", "3.10.2", "sandbox"] {
        images.push(image(tag, &["registry.k8s.io"]));
    }
    images
}

fn staging(base: &Layer) -> Vec<Image> {
    let image = |names: &[&str], config, layers| Image {
        names: names.iter().map(|name| format!("{STAGING}/{name}")).collect(),
        format: Format::Oci,
        config,
        layers,
    };
    let user = |user| Config { user, ..SH };
    let marked = |name| vec![base.clone(), rootfs::marker(name)];
    let plain = || vec![base.clone()];
    vec![
        image(&["hostnet-nginx-amd64:latest"], nginx(), vec![base.clone(), rootfs::nginx(12003)]),
        image(&["test-image-user-uid:latest"], user("1002"), plain()),
        image(&["test-image-user-username:latest"], user("www-data"), plain()),
        image(&["test-image-user-uid-group:latest"], user("1003:1004"), plain()),
        image(&["test-image-user-username-group:latest"], user("www-data:1004"), plain()),
        image(
            &["test-image-predefined-group:latest"],
            user("1000"),
            vec![base.clone(), rootfs::predefined_group()],
        ),
        image(&["test-image-1:latest"], SH, marked("test-image-1")),
        image(&["test-image-2:latest"], SH, marked("test-image-2")),
        image(&["test-image-3:latest"], SH, marked("test-image-3")),
        image(&["test-image-latest:latest"], SH, marked("test-image-latest")),
        image(&["test-image-digest:latest"], SH, marked("test-image-digest")),
        image(
            &["test-image-tags:1", "test-image-tags:2", "test-image-tags:3"],
            SH,
            marked("same-image"),
        ),
        image(&["test-image-tag:test"], SH, marked("test")),
        image(&["test-image-tag:all"], SH, marked("all")),
    ]
}

/// critest's `-benchmark` lists and pulls these.
fn benchmark(base: &Layer) -> Vec<Image> {
    ["1.35.0-glibc", "1-uclibc", "1", "1-glibc", "1-musl"]
        .into_iter()
        .map(|tag| Image {
            names: vec![format!("public.ecr.aws/docker/library/busybox:{tag}")],
            format: Format::Oci,
            config: SH,
            layers: vec![base.clone(), rootfs::marker(&format!("busybox-{tag}"))],
        })
        .collect()
}
