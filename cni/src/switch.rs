//! [`Switch`]: the daemon, as the plugin needs it.

use std::path::Path;
use std::time::Duration;

use ctl::response::{BridgeInfo, Changed, EndpointInfo, NatInfo, NetworkInfo, PortInfo};
use ctl::{
    Batch, Client, ClientError, ErrorCode, Mutation, Named, NetworkConnect, NetworkCreate,
    PortName, Query, Request,
};
use serde::de::DeserializeOwned;

use crate::wanted::Wanted;
use crate::{CniError, Label};

/// How long the daemon may take for a change: many containers may be there at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to say that it is there.
const GREETING: Duration = Duration::from_secs(1);

/// Where ports can be published, and which are.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    pub(crate) bridges: Vec<BridgeInfo>,
    pub(crate) rules: Vec<NatInfo>,
}

/// A connection to the daemon.
#[derive(Debug)]
pub(crate) struct Switch {
    client: Client,
}

impl Switch {
    /// Connects to the daemon, for changes.
    pub(crate) fn connect(socket: &Path) -> Result<Self, CniError> {
        Ok(Self { client: Client::connect_within(socket, PATIENCE)? })
    }

    /// Connects to the daemon, to see whether it is there.
    pub(crate) fn greet(socket: &Path) -> Result<Self, CniError> {
        Ok(Self { client: Client::connect_within(socket, GREETING)? })
    }

    /// All networks.
    pub(crate) fn networks(&mut self) -> Result<Vec<NetworkInfo>, CniError> {
        Ok(self.ask(Query::NetworkList)?)
    }

    /// The endpoints that an ADD of ours made, on whatever network, with what their owners say.
    pub(crate) fn endpoints(
        &mut self,
        is_meant: impl Fn(&Label) -> bool,
    ) -> Result<Vec<EndpointInfo>, CniError> {
        let all = self.networks()?.into_iter().flat_map(|network| network.endpoints);
        let is_meant = |endpoint: &EndpointInfo| {
            Label::read(&endpoint.owner).is_some_and(|label| is_meant(&label))
        };
        Ok(all.filter(is_meant).collect())
    }

    /// Makes a network, unless it is there as it should be.
    pub(crate) fn create(&mut self, create: NetworkCreate) -> Result<NetworkInfo, CniError> {
        let network = self.change(Mutation::NetworkCreate(Box::new(create)))?.network;
        network.map(|network| *network).ok_or_else(|| untold("the network"))
    }

    /// Gives a container an interface. What is made is whole, or not at all; `None` when somebody else has just made the
    /// same, who may go on with it.
    pub(crate) fn attach(
        &mut self,
        connect: NetworkConnect,
    ) -> Result<Option<EndpointInfo>, CniError> {
        let changed = self.change(Mutation::NetworkConnect(Box::new(connect)))?;
        let endpoint = changed.endpoint.ok_or_else(|| untold("the endpoint"))?;
        Ok(changed.changed.then_some(*endpoint))
    }

    /// Takes an interface away, and all that is bound to it; it may be gone already.
    pub(crate) fn detach(&mut self, port: PortName) -> Result<(), CniError> {
        self.change(Mutation::PortDel(Named { name: port, if_exists: true })).map(drop)
    }

    /// Carries out several changes, all or none.
    pub(crate) fn change_all(&mut self, changes: Vec<Mutation>) -> Result<(), CniError> {
        if changes.is_empty() {
            Ok(())
        } else {
            self.change(Mutation::Batch(Batch { changes })).map(drop)
        }
    }

    /// A port, if it is there.
    pub(crate) fn port(&mut self, name: &PortName) -> Result<Option<PortInfo>, CniError> {
        match self.ask(Query::PortShow(Named::new(name.clone()))) {
            Ok(port) => Ok(Some(port)),
            Err(ClientError::Refused(error)) if error.code == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where ports can be published; nothing, and nobody is asked, if none is to be.
    pub(crate) fn outside(&mut self, wanted: &Wanted) -> Result<Outside, CniError> {
        if !wanted.publishes() {
            return Ok(Outside::default());
        }
        Ok(Outside { bridges: self.ask(Query::BridgeList)?, rules: self.ask(Query::NatList)? })
    }

    fn ask<T: DeserializeOwned>(&mut self, query: Query) -> Result<T, ClientError> {
        self.client.ask(Request::Query(query))
    }

    fn change(&mut self, mutation: Mutation) -> Result<Changed, CniError> {
        Ok(self.client.ask(Request::Mutation(mutation))?)
    }
}

fn untold(what: &str) -> CniError {
    CniError::Answer(format!(
        "vswitchd does not say what became of {what}; are both of the same release?"
    ))
}
