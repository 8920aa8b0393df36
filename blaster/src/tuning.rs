//! What of this machine matters to a plan, and how it is changed: the same list and the same scripts as in the folder `tuning`, which
//! are part of this binary. [`knobs`] reads the list, [`machine`] what is there now, [`scripts`] apply and revert, [`tuned`]
//! does both around a run.

pub mod expression;
pub mod knobs;
pub mod machine;
pub mod scripts;
pub mod tuned;

use expression::Name;

/// What a plan needs of a machine, in the numbers that the list's expressions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Requests a second.
    pub rps: u64,
    /// All connections.
    pub connections: u64,
    /// Connections to one address of the target.
    pub per_address: u64,
    /// New connections a second to one address, all along.
    pub churn: u64,
    /// Threads that send.
    pub cores: u64,
    /// The built-in target runs in the same process.
    pub sink: bool,
    /// The target is on this machine.
    pub local: bool,
}

impl Needs {
    fn value(&self, name: Name) -> Option<i64> {
        let number = match name {
            Name::Rps => self.rps,
            Name::Connections => self.connections,
            Name::PerAddress => self.per_address,
            Name::Churn => self.churn,
            Name::Cores => self.cores,
            Name::Sink => self.sink.into(),
            Name::Local => self.local.into(),
            Name::Remote => (!self.local).into(),
            Name::Now | Name::Want => return None,
        };
        i64::try_from(number).ok()
    }

    /// As arguments of the scripts.
    pub fn arguments(&self) -> Vec<String> {
        let addresses = self.connections.div_ceil(self.per_address.max(1)).max(1);
        let numbers = [
            ("--rps", self.rps),
            ("--connections", self.connections),
            ("--addresses", addresses),
            ("--new-connections", self.churn),
            ("--cores", self.cores),
        ];
        let mut arguments: Vec<_> =
            numbers.iter().flat_map(|(flag, number)| [(*flag).to_owned(), number.to_string()]).collect();
        arguments.extend(self.sink.then(|| "--sink".to_owned()));
        arguments.extend((self.local && !self.sink).then(|| "--local".to_owned()));
        arguments
    }
}
