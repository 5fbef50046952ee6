//! A look through all that is kept of images, networks and pods, while others work with it, and what
//! can be done about what is found.

use crate::current::Current;
use crate::{daemon, parts};
use rrun_blocking::Pool;
use rrun_engine::fsck::{Found, Remedy};
use rrun_engine::{Engine, Owner, PodGroups, PodId, Recovery, Takeover};
use rrun_images::{Known, Outcome};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// The look at pods.
static LOOKS: Pool = Pool::new(1);

/// What is asked for.
pub struct Check {
    /// Whether the content of every layer is hashed.
    pub hash: bool,
    /// The uids of the pods that `rrun` has on record.
    pub uids: Uids,
    /// Whether what is wrong is to be put right, and who asks the registries then.
    pub repair: Option<Known>,
}

/// Uids of pods that have a control group because somebody has them on record; or why nobody can tell.
pub type Uids =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<BTreeSet<String>, String>> + Send>> + Send>;

/// What is looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The store of images.
    Images,
    /// The records of networks, and the built-in bridge.
    Network,
    /// Pods and containers.
    Pods,
}

impl Part {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Images => "images",
            Part::Network => "network",
            Part::Pods => "pods",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub part: Part,
    /// The word for what kind of thing it is.
    pub kind: &'static str,
    /// Which one.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was found, and what was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was wrong.
    pub findings: Vec<(Finding, Outcome)>,
    /// What is not wrong and should be known.
    pub notes: BTreeSet<String>,
    /// What could not be looked through, and why.
    pub failed: Vec<(Part, String)>,
    /// Layers that were hashed.
    pub hashed: usize,
    /// Attachments on record.
    pub attachments: usize,
    /// Pods that were read.
    pub pods: usize,
    /// Containers that were read.
    pub containers: usize,
}

/// Looks through everything, and puts right what it can if that is asked for; else nothing is changed.
pub async fn fsck(current: &Current, check: Check) -> Report {
    let mut report = Report::default();
    let repairs = check.repair.is_some();
    let uids = check.uids;
    let network = Network::look(current).await;
    let attached = network.as_ref().map(|network| network.seen.attached.clone());
    // Before anything is mended: what is attached tells which namespaces are ours.
    let pods = Pods::look(current, attached.unwrap_or_default()).await;
    images(current, check.hash, check.repair, &mut report).await;
    match network {
        Ok(network) => network.tell(repairs, &mut report).await,
        Err(why) => report.failed.push((Part::Network, why)),
    }
    // Last: a recovery gives back what pods had of the others, and says nothing of it.
    match pods {
        Ok(pods) => pods.tell(repairs, &mut report).await,
        Err(why) => report.failed.push((Part::Pods, why)),
    }
    if let Err(why) = pod_groups(current, &uids, repairs, &mut report).await {
        report.failed.push((Part::Pods, why));
    }
    report
}

impl Report {
    /// Mends what was found, looks again, and tells what came of each.
    async fn tell_mended<F: Ord>(
        &mut self,
        part: Part,
        found: Vec<(Finding, F)>,
        mend: impl Future<Output = Vec<Result<&'static str, String>>>,
        again: impl Future<Output = Result<BTreeSet<F>, String>>,
    ) {
        if found.is_empty() {
            return;
        }
        let done = mend.await;
        let left = match again.await {
            Ok(left) => left,
            Err(why) => return self.failed.push((part, why)),
        };
        for ((finding, key), done) in found.into_iter().zip(done) {
            let outcome = match done {
                Err(why) => Outcome::Left(why),
                Ok(words) if left.contains(&key) => {
                    Outcome::Left(format!("it is still so, though it was {words}"))
                }
                Ok(words) => Outcome::Repaired(words.to_owned()),
            };
            self.findings.push((finding, outcome));
        }
    }

    fn tell_found<F>(&mut self, found: Vec<(Finding, F)>) {
        self.findings.extend(found.into_iter().map(|(finding, _)| (finding, Outcome::Found)));
    }
}

async fn images(current: &Current, hash: bool, repair: Option<Known>, report: &mut Report) {
    let config = current.config();
    let containers = Arc::new(move || parts::containers(&config));
    let check = rrun_images::Check { hash, containers, repair };
    let of_images = match rrun_images::fsck(parts::image_store(current), check).await {
        Ok(of_images) => of_images,
        Err(error) => return report.failed.push((Part::Images, error.to_string())),
    };
    report.hashed = of_images.hashed;
    report.notes.extend(of_images.notes);
    let found = of_images.findings.into_iter().map(|(one, outcome)| {
        let (kind, object, what) = (one.fault.as_str(), one.object, one.what);
        (Finding { part: Part::Images, kind, object, what }, outcome)
    });
    report.findings.extend(found);
}

/// The control groups of pods of `rrun`, which are named by their uids. One with a process in it is not
/// removed.
async fn pod_groups(
    current: &Current,
    uids: &Uids,
    repairs: bool,
    report: &mut Report,
) -> Result<(), String> {
    let groups = parts::pod_groups(current)?;
    let mut unknown = unknown_groups(&groups, uids, report).await?;
    if unknown.is_empty() {
        return Ok(());
    }
    sleep(PAUSE).await;
    let again = unknown_groups(&groups, uids, report).await?;
    unknown.retain(|uid| again.contains(uid));
    for uid in unknown {
        let outcome = if repairs {
            let (groups, uid) = (groups.clone(), uid.clone());
            match LOOKS.run(move || groups.remove(&uid)).await {
                Ok(()) => Outcome::Repaired("removed".to_owned()),
                Err(error) => Outcome::Left(error.to_string()),
            }
        } else {
            Outcome::Found
        };
        let what = "rrun has no such pod on record".to_owned();
        let kind = "control group";
        let finding = Finding { part: Part::Pods, kind, object: format!("pod{uid}"), what };
        report.findings.push((finding, outcome));
    }
    Ok(())
}

/// A pod is on record before it has a group: so the groups are looked at first.
async fn unknown_groups(
    groups: &PodGroups,
    uids: &Uids,
    report: &mut Report,
) -> Result<BTreeSet<String>, String> {
    let look = groups.clone();
    let found = LOOKS.run(move || look.uids()).await.map_err(|error| error.to_string())?;
    match uids().await {
        Ok(known) => Ok(found.difference(&known).cloned().collect()),
        Err(why) => {
            report.notes.insert(format!("control groups of pods of rrun are not judged: {why}"));
            Ok(BTreeSet::new())
        }
    }
}

/// What was seen of networks.
struct Network {
    config: rrun_cni::Config,
    gone: rrun_cni::fsck::Gone,
    seen: rrun_cni::fsck::Look,
}

impl Network {
    async fn look(current: &Current) -> Result<Network, String> {
        let config = parts::network(current)?;
        let engine = parts::engine(current, Takeover::Nameless)?;
        let gone: rrun_cni::fsck::Gone = Arc::new(move |attached| {
            let known = rrun_engine::fsck::pods_on_record(&engine);
            let known = known.map_err(|error| error.to_string())?;
            // What has no pod's name is not ours to judge.
            let is_gone = |id: &&String| id.parse::<PodId>().is_ok_and(|id| !known.contains(&id));
            Ok(attached.iter().filter(is_gone).cloned().collect())
        });
        let seen = rrun_cni::fsck::look(&config, &gone).await;
        Ok(Network { seen: seen.map_err(|error| error.to_string())?, config, gone })
    }

    async fn tell(self, repairs: bool, report: &mut Report) {
        let Network { config, gone, seen } = self;
        report.attachments = seen.attached.len();
        report.notes.extend(seen.notes);
        let finding = |one: &rrun_cni::fsck::Finding| Finding {
            part: Part::Network,
            kind: one.fault.as_str(),
            object: one.object.clone(),
            what: one.what.clone(),
        };
        let found = seen.found.iter().map(|one| (finding(&one.finding), one.finding.clone()));
        let found = found.collect();
        if !repairs {
            return report.tell_found(found);
        }
        let mend = async {
            let done = rrun_cni::fsck::mend(&config, &seen.found).await.into_iter();
            done.map(|done| done.map_err(|error| error.to_string())).collect()
        };
        let again = async {
            let left = rrun_cni::fsck::look(&config, &gone).await;
            let left = left.map_err(|error| error.to_string())?;
            Ok(left.found.into_iter().map(|one| one.finding).collect())
        };
        report.tell_mended(Part::Network, found, mend, again).await;
    }
}

/// What was seen of pods.
struct Pods<'a> {
    current: &'a Current,
    attached: BTreeSet<String>,
    seen: rrun_engine::fsck::Look,
}

impl Pods<'_> {
    async fn look(current: &Current, attached: BTreeSet<String>) -> Result<Pods<'_>, String> {
        let seen = look_at_pods(current, &attached).await?;
        Ok(Pods { current, attached, seen })
    }

    async fn tell(self, repairs: bool, report: &mut Report) {
        let Pods { current, attached, seen } = self;
        (report.pods, report.containers) = (seen.pods, seen.containers);
        report.notes.extend(seen.notes);
        let finding = |one: &rrun_engine::fsck::Finding| Finding {
            part: Part::Pods,
            kind: one.fault.as_str(),
            object: one.object.clone(),
            what: one.what.clone(),
        };
        let found = seen.found.iter().map(|one| (finding(&one.finding), one.finding.clone()));
        let found = found.collect();
        if !repairs {
            return report.tell_found(found);
        }
        let again = async {
            let left = look_at_pods(current, &attached).await?;
            Ok(left.found.into_iter().map(|one| one.finding).collect())
        };
        report.tell_mended(Part::Pods, found, mend_pods(current, &seen.found), again).await;
    }
}

async fn look_at_pods(
    current: &Current,
    attached: &BTreeSet<String>,
) -> Result<rrun_engine::fsck::Look, String> {
    let (config, attached) = (parts::engine(current, Takeover::Nameless)?, attached.clone());
    let look = move || rrun_engine::fsck::look(&config, &attached);
    LOOKS.run(look).await.map_err(|error| error.to_string())
}

/// An engine that has taken something over, and what it met.
type Opened = Result<(Engine, Recovery), String>;

/// Takes over what each finding is of, in this process: what was done. What is `rrund`'s or nobody's is
/// taken over as `rrund` does it at its start, with its lock.
async fn mend_pods(current: &Current, found: &[Found]) -> Vec<Result<&'static str, String>> {
    let is_of_daemon = |one: &Found| match &one.remedy {
        Remedy::TakeOver(Takeover::Pod(Owner::Engine(_), _)) | Remedy::Nobody(_) => false,
        Remedy::TakeOver(_) | Remedy::End => true,
    };
    let run = current.config().run.clone();
    let lock = found.iter().any(is_of_daemon).then(|| daemon::lock(&run));
    let mut opened: Vec<(Takeover, Opened)> = Vec::new();
    let mut all = Vec::new();
    for one in found {
        if let (true, Some(Err(why))) = (is_of_daemon(one), &lock) {
            all.push(Err(format!("rrund does it when it starts the next time ({why})")));
            continue;
        }
        let takeover = match &one.remedy {
            Remedy::TakeOver(takeover) => takeover.clone(),
            Remedy::End => Takeover::Nameless,
            Remedy::Nobody(why) => {
                all.push(Err((*why).to_owned()));
                continue;
            }
        };
        let at = match opened.iter().position(|(known, _)| *known == takeover) {
            Some(at) => at,
            None => {
                let parts = parts::open_with(current, takeover.clone()).await;
                let engine = parts.map(|(parts, recovery)| (parts.engine, recovery));
                opened.push((takeover, engine));
                opened.len() - 1
            }
        };
        all.push(match &opened[at].1 {
            Err(why) => Err(why.clone()),
            Ok((engine, recovery)) => mended(engine, recovery, one).await,
        });
    }
    all
}

/// What became of a finding in a recovery.
async fn mended(engine: &Engine, recovery: &Recovery, one: &Found) -> Result<&'static str, String> {
    if one.remedy == Remedy::End {
        let ended = engine.end_unknown(&one.pod).await;
        return ended.map(|()| one.done).map_err(|error| error.to_string());
    }
    if recovery.foreign.contains(&one.pod) {
        return Err("another process works on its pod, and does it".to_owned());
    }
    // Of a pod that was taken back the steps are told; of what has no record, whose they are.
    let is_its = |what: &str| what == one.pod.as_str() || what.parse::<PodId>().is_err();
    let left = recovery.not_undone.iter().filter(|(what, _)| is_its(what));
    let left: Vec<String> = left.map(|(what, why)| format!("{what}: {why}")).collect();
    if left.is_empty() { Ok(one.done) } else { Err(left.join("; ")) }
}
