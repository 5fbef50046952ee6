//! Plugins that remember what they are told.

use super::*;

#[derive(Default)]
pub(super) struct Told {
    moments: Option<Vec<String>>,
    refused: Option<Moment>,
    wishes: Option<Wishes>,
}

impl World {
    /// From now on somebody listens, who says no to `refused`.
    pub(crate) fn listen(&self, refused: Option<Moment>) {
        self.state(|state| {
            let moments = Some(state.plugins.moments.take().unwrap_or_default());
            state.plugins = Told { moments, refused, wishes: None };
        });
    }

    /// What is wished of the next container that is made.
    pub(crate) fn wish(&self, wishes: Wishes) {
        self.state(|state| state.plugins.wishes = Some(wishes));
    }

    /// What was told since this was asked last.
    pub(crate) fn told(&self) -> Vec<String> {
        self.state(|state| state.plugins.moments.as_mut().map(std::mem::take).unwrap_or_default())
    }
}

#[async_trait]
impl Plugins for World {
    fn hear(&self, _: &Moment) -> bool {
        self.state(|state| state.plugins.moments.is_some())
    }

    async fn tell(
        &self,
        moment: Moment,
        _: PodInfo,
        container: Option<ContainerInfo>,
    ) -> Result<Wishes> {
        self.state(|state| {
            let told = &mut state.plugins;
            let of =
                container.map_or(String::new(), |container| format!(" {}", container.config.name));
            told.moments.iter_mut().for_each(|all| all.push(format!("{moment:?}{of}")));
            match told.refused == Some(moment.clone()) {
                true => Err(Error::precondition("not on this node")),
                false if moment == Moment::CreateContainer => {
                    Ok(told.wishes.take().unwrap_or_default())
                }
                false => Ok(Wishes::default()),
            }
        })
    }
}
