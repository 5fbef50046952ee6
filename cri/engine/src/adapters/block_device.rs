//! Names of block devices.

use std::fs;

/// As a file below `/dev`, as cAdvisor names it; `major:minor` where there is none: such are the
/// file systems without a disk.
pub(super) fn name(major: impl Into<u64>, minor: impl Into<u64>) -> String {
    let (major, minor) = (major.into(), minor.into());
    let name = || {
        let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
        // sysfs has no slashes in names.
        Some(format!("/dev/{}", link.file_name()?.to_str()?.replace('!', "/")))
    };
    name().unwrap_or_else(|| format!("{major}:{minor}"))
}

/// The same by the number in a file's status.
pub(super) fn name_of(device: u64) -> String {
    name(nix::sys::stat::major(device), nix::sys::stat::minor(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_by_its_file_and_one_without_by_its_number() {
        let mut some = fs::read_dir("/sys/dev/block").unwrap().flatten();
        if let Some(entry) = some.next() {
            let number = entry.file_name().into_string().unwrap();
            let (major, minor) = number.split_once(':').unwrap();
            let name = name(major.parse::<u64>().unwrap(), minor.parse::<u64>().unwrap());
            assert!(name.starts_with("/dev/"), "{name}");
        }
        assert_eq!(name(0_u32, 4095_u32), "0:4095");
        assert_eq!(name_of(nix::sys::stat::makedev(0, 4095)), "0:4095");
    }
}
