//! Label selectors.

mod text;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::fields::{Item, Read};

/// What labels must be so that something is selected: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl Selector {
    /// Whether these labels are selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { key, operator, values }| {
            let value = labels.get(key);
            let among = value.is_some_and(|value| values.contains(value));
            let compared = || {
                let number = |text: &String| text.parse::<i64>().ok();
                number(value?)?.partial_cmp(&number(values.first()?)?)
            };
            match operator {
                Operator::In => among,
                Operator::NotIn => !among,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::GreaterThan => compared().is_some_and(Ordering::is_gt),
                Operator::LessThan => compared().is_some_and(Ordering::is_lt),
            }
        })
    }
}

/// A selector of `apps/v1`, with labels, expressions, or both.
pub fn selector(item: &Item<'_>) -> Read<Selector> {
    let operators = [
        ("In", Operator::In),
        ("NotIn", Operator::NotIn),
        ("Exists", Operator::Exists),
        ("DoesNotExist", Operator::DoesNotExist),
    ];
    item.object(|f| {
        let mut all = f.opt("matchLabels", plain_selector)?.unwrap_or_default().0;
        all.extend(f.list("matchExpressions", |i| {
            i.object(|f| {
                Ok(Requirement {
                    key: f.need("key", Item::text)?,
                    operator: f.need("operator", |i| i.one_of(&operators))?,
                    values: f.list("values", Item::text)?,
                })
            })
        })?);
        Ok(Selector(all))
    })
}

/// A selector that is a map of labels.
pub fn plain_selector(item: &Item<'_>) -> Read<Selector> {
    let labels = item.map(|_, i| i.text())?;
    let requirement =
        |(key, value)| Requirement { key, operator: Operator::In, values: vec![value] };
    Ok(Selector(labels.into_iter().map(requirement).collect()))
}
