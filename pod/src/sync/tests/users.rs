use super::*;
use crate::users::{IDS, UserRange};

#[tokio::test(start_paused = true)]
async fn every_mount_of_a_pod_with_users_of_its_own_has_the_pods_ids() {
    let scene = Scene::new().await;
    let spec = |users: bool| {
        format!(
            "  hostUsers: {users}
  containers: [{{name: a, image: x:1, volumeMounts: [{{name: v, mountPath: /v}}, {{name: i, mountPath: /i}}]}}]
  volumes: [{{name: v}}, {{name: i, image: {{reference: y:1}}}}]
"
        )
    };
    for own in [true, false] {
        let pod = scene.run(&spec(!own));
        seconds(2).await;
        for path in ["/v", "/i", "/etc/hosts", "/dev/termination-log"] {
            let mount = scene.cri.mount(path).unwrap();
            let found = [mount.uid_mappings, mount.gid_mappings].map(|ids| {
                ids.iter().map(|id| (id.host_id, id.container_id, id.length)).collect::<Vec<_>>()
            });
            let first = UserRange::all().next().unwrap().first();
            let want = if own { vec![(first, 0, IDS)] } else { Vec::new() };
            assert_eq!(found, [want.clone(), want], "{path}");
        }
        pod.stop(Some(0));
        pod.wait().await;
        scene.engine.remove(&testing::pod(&spec(!own))).await.unwrap();
    }
}
