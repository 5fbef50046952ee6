//! Who a container's process is: names looked up in the container's own files.

use crate::error::{Error, Result};
use crate::model::{ContainerSecurity, GroupsPolicy};
use crate::status::LinuxUser;

/// The container's own `/etc/passwd` and `/etc/group`; empty where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Accounts<'a> {
    pub(crate) passwd: &'a [u8],
    pub(crate) group: &'a [u8],
}

/// A user, and its home where the container's passwd has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) user: LinuxUser,
    pub(crate) home: Option<String>,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A number as an id. The highest is none: the kernel takes it for "leave it as it is", and whoever
/// was to be that user would be root.
fn id(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|id| *id != u32::MAX)
}

/// Lines of passwd(5); those that are not such lines are passed over, as libc does.
fn accounts(passwd: &[u8]) -> impl Iterator<Item = Account<'_>> {
    passwd.split(|b| *b == b'\n').filter_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or("");
        Some(Account { name, uid: id(uid)?, gid: id(gid)?, home })
    })
}

/// Lines of group(5): name, id, members.
fn groups(group: &[u8]) -> impl Iterator<Item = (&str, u32, &str)> {
    group.split(|b| *b == b'\n').filter_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, id(gid)?, fields.next().unwrap_or("")))
    })
}

/// Resolves the user of a container: `run_as_username`, which must be in passwd, or `run_as_user`,
/// else the image's.
pub(crate) fn resolve(
    security: &ContainerSecurity,
    image_user: &str,
    files: &Accounts<'_>,
) -> Result<Who> {
    let asked = match (security.run_as_username.as_str(), security.run_as_user) {
        ("", None) => None,
        ("", Some(uid)) => Some(numeric_id(uid, "run_as_user")?.to_string()),
        (name, _) => Some(name.to_owned()),
    };
    let (user, image_group) = match (&asked, image_user.split_once(':')) {
        (Some(user), _) => (user.as_str(), None),
        (None, Some((user, group))) => (user, Some(group).filter(|group| !group.is_empty())),
        (None, None) => (image_user, None),
    };
    let account = find_account(if user.is_empty() { "0" } else { user }, files)?;
    if account.name.is_empty() && !security.run_as_username.is_empty() {
        return Err(not_in_passwd("run_as_username: user", user));
    }
    let gid = match (security.run_as_group, image_group) {
        (Some(gid), _) => numeric_id(gid, "run_as_group")?,
        (None, Some(group)) => find_group(group, files)?,
        (None, None) => account.gid,
    };
    let mut all = vec![gid];
    if security.groups_policy == GroupsPolicy::Merge && !account.name.is_empty() {
        let member = |list: &str| list.split(',').any(|name| name == account.name);
        all.extend(groups(files.group).filter(|(_, _, list)| member(list)).map(|(_, gid, _)| gid));
    }
    for gid in &security.supplemental_groups {
        all.push(numeric_id(*gid, "supplemental_groups")?);
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|gid| seen.insert(*gid));
    let home = Some(account.home).filter(|home| !home.is_empty()).map(str::to_owned);
    Ok(Who { user: LinuxUser { uid: account.uid, gid, groups: all }, home })
}

/// A number of the wire as a user or group id.
pub(crate) fn numeric_id(number: i64, what: &str) -> Result<u32> {
    let id = u32::try_from(number).ok().filter(|id| *id != u32::MAX);
    id.ok_or_else(|| Error::invalid(format!("{what}: no such id {number}")))
}

/// A name wins over a number, and a number need not be in passwd.
fn find_account<'a>(user: &str, files: &Accounts<'a>) -> Result<Account<'a>> {
    if let Some(account) = accounts(files.passwd).find(|account| account.name == user) {
        return Ok(account);
    }
    let uid = id(user).ok_or_else(|| not_in_passwd("user", user))?;
    let known = accounts(files.passwd).find(|account| account.uid == uid);
    Ok(known.unwrap_or(Account { name: "", uid, gid: 0, home: "" }))
}

fn not_in_passwd(what: &str, user: &str) -> Error {
    Error::invalid(format!("{what} {user:?} is not in the container's /etc/passwd"))
}

fn find_group(group: &str, files: &Accounts<'_>) -> Result<u32> {
    if let Some((_, gid, _)) = groups(files.group).find(|(name, _, _)| *name == group) {
        return Ok(gid);
    }
    id(group).ok_or_else(|| {
        Error::invalid(format!("group {group:?} is not in the container's /etc/group"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: Accounts<'static> = Accounts {
        passwd: b"root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34:w:/srv:/bin/false\n\xff:x:1:1::/:\n7:x:70:71::/seven:\n",
        group: b"root:x:0:\nwheel:x:10:web,other\nusers:x:100:web\nnot:x:nan:web\n",
    };

    fn who(change: impl FnOnce(&mut ContainerSecurity), image: &str) -> (u32, Vec<u32>, String) {
        let mut security = ContainerSecurity::default();
        change(&mut security);
        let who = resolve(&security, image, &FILES).unwrap();
        assert_eq!(who.user.gid, who.user.groups[0]);
        (who.user.uid, who.user.groups, who.home.unwrap_or_default())
    }

    #[test]
    fn a_user_is_found_by_name_number_or_not_at_all() {
        let root = (0, vec![0], "/root".to_owned());
        assert_eq!(who(|_| {}, ""), root);
        assert_eq!(who(|_| {}, "root"), root);
        assert_eq!(who(|_| {}, "web"), (33, vec![34, 10, 100], "/srv".into()));
        assert_eq!(who(|_| {}, "33"), (33, vec![34, 10, 100], "/srv".into()));
        assert_eq!(who(|_| {}, "web:100"), (33, vec![100, 10], "/srv".into()));
        assert_eq!(who(|_| {}, "web:wheel"), (33, vec![10, 100], "/srv".into()));
        assert_eq!(who(|_| {}, "1234"), (1234, vec![0], String::new()));
        assert_eq!(who(|_| {}, "7"), (70, vec![71], "/seven".into()), "a name of digits");
    }

    #[test]
    fn what_is_asked_for_goes_before_the_image() {
        assert_eq!(who(|s| s.run_as_user = Some(5), "web:wheel").0, 5);
        assert_eq!(who(|s| s.run_as_user = Some(5), "web:wheel").1, [0]);
        assert_eq!(who(|s| s.run_as_username = "web".into(), "5").0, 33);
        let group = |s: &mut ContainerSecurity| {
            s.run_as_user = Some(33);
            s.run_as_group = Some(9);
        };
        assert_eq!(who(group, "").1, [9, 10, 100]);
    }

    #[test]
    fn strict_leaves_out_the_groups_of_the_image() {
        let strict = |s: &mut ContainerSecurity| {
            s.groups_policy = GroupsPolicy::Strict;
            s.supplemental_groups = vec![5, 34, 5];
        };
        assert_eq!(who(strict, "web").1, [34, 5]);
        assert_eq!(who(|s| s.supplemental_groups = vec![5], "web").1, [34, 10, 100, 5]);
    }

    #[test]
    fn a_user_or_group_that_is_nowhere_is_refused_by_name() {
        let security = ContainerSecurity::default();
        let error = resolve(&security, "nobody", &FILES).unwrap_err().to_string();
        assert!(error.contains("nobody"), "{error}");
        let error = resolve(&security, "web:nogroup", &FILES).unwrap_err().to_string();
        assert!(error.contains("nogroup"), "{error}");
        let number = ContainerSecurity { run_as_username: "1234".into(), ..security.clone() };
        let error = resolve(&number, "", &FILES).unwrap_err().to_string();
        assert!(error.contains("run_as_username: user \"1234\""), "{error}");
        let negative = ContainerSecurity { run_as_user: Some(-1), ..security };
        assert!(resolve(&negative, "", &FILES).is_err());
    }

    #[test]
    fn the_number_that_is_no_id_is_nobodys() {
        let files = Accounts {
            passwd: b"evil:x:4294967295:0::/:\nlow:x:5:4294967295::/:\n",
            group: b"evil:x:4294967295:web\n",
        };
        let image = |user: &str| resolve(&ContainerSecurity::default(), user, &files);
        for user in ["4294967295", "evil", "low", "5:4294967295", "5:evil", "4294967296", "-1"] {
            assert!(image(user).is_err(), "{user}");
        }
        let highest = Some(i64::from(u32::MAX));
        for security in [
            ContainerSecurity { run_as_user: highest, ..ContainerSecurity::default() },
            ContainerSecurity { run_as_group: highest, ..ContainerSecurity::default() },
            ContainerSecurity { supplemental_groups: vec![-1], ..ContainerSecurity::default() },
        ] {
            assert!(resolve(&security, "5", &files).is_err());
        }
    }
}
