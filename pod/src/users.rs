//! The ids of a pod that has a user namespace of its own (`hostUsers: false`).

use rrun_cri_api::v1;

/// So many ids has each of these pods, as at the kubelet: those of every image that keeps to 16 bits.
pub const IDS: u32 = 65_536;

/// The first id of the node that a pod may have. What is below belongs to the node's own users and to
/// others that give out ranges: a kubelet (from 65536), useradd (/etc/subuid, up to 600100000),
/// systemd-nspawn (up to 1879048191), sssd for the users of a directory (up to 2000200000).
pub const FIRST: u32 = 0x7739_0000;

/// Behind the last one: systemd has the ids from there on.
pub const END: u32 = 0x7ffe_0000;

/// The ids of the node that are a pod's, uids as well as gids. In the pod they count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange(u32);

impl UserRange {
    /// All ranges that there are, in their order.
    pub fn all() -> impl Iterator<Item = UserRange> {
        (FIRST..END).step_by(IDS as usize).map(UserRange)
    }

    /// The range that begins with this id, if one does.
    pub fn from_first(id: u32) -> Option<UserRange> {
        let begins = (FIRST..END).contains(&id) && id.is_multiple_of(IDS);
        begins.then_some(UserRange(id))
    }

    /// Who root in the pod is on the node.
    pub fn first(self) -> u32 {
        self.0
    }

    /// As the runtime is told.
    pub fn namespace(self) -> v1::UserNamespace {
        v1::UserNamespace {
            mode: v1::NamespaceMode::Pod as i32,
            uids: self.mappings(),
            gids: self.mappings(),
        }
    }

    /// The same of mounts: what is on the disk has the ids that it has in the pod.
    pub fn map(self, mounts: &mut [v1::Mount]) {
        for mount in mounts {
            mount.uid_mappings = self.mappings();
            mount.gid_mappings = self.mappings();
        }
    }

    fn mappings(self) -> Vec<v1::IdMapping> {
        vec![v1::IdMapping { host_id: self.0, container_id: 0, length: IDS }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap_and_none_has_an_id_of_the_nodes_own() {
        let all: Vec<u32> = UserRange::all().map(UserRange::first).collect();
        assert!(all.len() > 2_000, "more than pods of a node");
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] == IDS));
        assert!(all[0] >= 2_000_200_000 && END - all[all.len() - 1] == IDS);
        assert!(all.iter().all(|id| UserRange::from_first(*id).is_some()));
        for wrong in [0, 65_536, FIRST + 1, FIRST - IDS, END, u32::MAX] {
            assert_eq!(UserRange::from_first(wrong), None, "{wrong}");
        }
    }
}
