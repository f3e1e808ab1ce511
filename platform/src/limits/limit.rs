//! One limit, as it is written.

use std::fmt;
use std::str::FromStr;

use super::resource::{NoSuchResource, Resource};

/// `memory=512M`, `cpu=none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is limited.
    pub resource: Resource,
    /// To how much: bytes, thousandths of a processor, or a number.
    pub amount: Option<u64>,
}

/// Why a text is no [`Limit`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimit {
    /// It has another form.
    #[error("{0:?} is not KEY=VALUE, such as memory=512M")]
    Form(String),
    /// Its name is unknown.
    #[error(transparent)]
    Resource(#[from] NoSuchResource),
    /// Its amount cannot be read, or makes no sense.
    #[error("{0}={1:?}: it is from {least} to {most}, such as {0}={example}", least = .0.show(Some(*.0.range().start())),
        most = .0.show(Some(*.0.range().end())), example = .0.example())]
    Amount(Resource, String),
}

impl FromStr for Limit {
    type Err = InvalidLimit;
    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let (name, value) = text.split_once('=').ok_or_else(|| InvalidLimit::Form(text.to_owned()))?;
        let resource: Resource = name.parse()?;
        if value == "none" && resource.may_be_unlimited() {
            return Ok(Self { resource, amount: None });
        }
        let amount = resource.parse_amount(value).filter(|amount| resource.range().contains(amount));
        let amount = amount.ok_or_else(|| InvalidLimit::Amount(resource, value.to_owned()))?;
        Ok(Self { resource, amount: Some(amount) })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.resource, self.resource.show(self.amount))
    }
}

impl Limit {
    /// Twice as much, as far as that makes sense.
    #[must_use]
    pub fn twice(self) -> Self {
        let most = *self.resource.range().end();
        Self { amount: self.amount.map(|amount| amount.saturating_mul(2).min(most)), ..self }
    }
}
