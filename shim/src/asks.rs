//! What a container that is being made wants done by its daemon: the question goes out as an event,
//! the answer comes back as a request.

use crate::container::Phase;
use crate::poll::Key;
use crate::shim::{Answer, DONE, Shim};
use nix::errno::Errno;
use rrun_runtime::run;
use rrun_shim_protocol::{Ask, AskRefusal, Event};

/// The first version whose daemons place containers.
const PLACING: u16 = 2;

/// The first version whose daemons run hooks.
const HOOKING: u16 = 4;

impl Shim {
    /// The init asks something. Its creator is asked, once; where he cannot be, it is refused.
    pub fn init_asks(&mut self, key: Key) {
        let Some(container) = self.processes.container(key) else { return };
        let Some(question) = container.new_question() else { return };
        let creator = match container.phase {
            Phase::Preparing((connection, _)) => connection,
            _ => return self.nobody_answers(key),
        };
        let (ask, since) = match question {
            run::ParentTask::Place => (Ask::Place, PLACING),
            run::ParentTask::RunHooks => (Ask::RunHooks, HOOKING),
            // The executor's own business.
            run::ParentTask::WriteIdMaps | run::ParentTask::TellPid => {
                return self.nobody_answers(key);
            }
        };
        let (container, pid) = (container.id.clone(), container.pid().as_raw());
        let event = Event::Asks { container, pid, ask };
        match self.connections.version(creator) >= since {
            true => self.connections.tell(creator, &event),
            false => self.nobody_answers(key),
        }
    }

    /// [`rrun_shim_protocol::Request::Answer`]
    pub fn answer_ask(&mut self, id: &str, refusal: Option<AskRefusal>) -> Answer {
        let container = self.processes.container_of(id)?;
        let answer = refusal.map_or(Ok(()), |refusal| {
            let errno = match Errno::from_raw(refusal.errno) {
                // 0, or a number that this kernel does not have, would say that it is done.
                Errno::UnknownErrno => Errno::EIO,
                errno => errno,
            };
            Err(run::Refusal { errno, words: refusal.words })
        });
        container.answer(&answer)?;
        DONE
    }

    /// A daemon is gone: nobody answers what it was asked.
    pub fn refuse_asks_of(&mut self, connection: Key) {
        let lost: Vec<Key> = self
            .processes
            .containers()
            .filter(|c| matches!(c.phase, Phase::Preparing((creator, _)) if creator == connection))
            .filter(|container| container.is_asking())
            .map(|container| container.key)
            .collect();
        lost.into_iter().for_each(|key| self.nobody_answers(key));
    }

    fn nobody_answers(&mut self, key: Key) {
        let Some(container) = self.processes.container(key) else { return };
        let words = "nobody here can do that".to_owned();
        let refused = container.answer(&Err(run::Refusal { errno: Errno::ENOSYS, words }));
        // It is dead then, and its end says so.
        if let Err(error) = refused {
            let id = container.id.clone();
            crate::own_log::note(&self.run_dir, &format!("refuse what {id} asks: {error}"));
        }
    }
}
