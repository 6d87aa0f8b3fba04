//! Clients under their names: what has a name now, what had it before.

use narrows_format::{ClientId, Timestamp};

use super::storage::{CLASH, absent};
use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::Change;
use crate::machine::Refusal;
use crate::moment::Moment;
use crate::policy::{Policy, StoredPolicy};
use crate::storage::{Client, ClientAlias};

impl<C: Catalog> Primary<C> {
    /// Gives a client another name. Images keep the one that they were made under, policies that name it name it anew,
    /// and the old name is kept with its dates.
    pub async fn rename_client(&mut self, old: &str, new: &str, moment: Moment) -> Done<Client, C> {
        let clients = self.ask(self.catalog.clients()).await?;
        if clients.iter().any(|client| client.name == new) {
            let sentence = format!("a client called `{new}` is enrolled already");
            return Err(Refusal::new(CLASH, sentence, "give another name").into());
        }
        let client =
            clients.into_iter().find(|client| client.name == old).ok_or_else(|| absent("client", old))?;
        let aliases = self.ask(self.catalog.client_aliases()).await?;
        let from = named_since(&client, &aliases);
        let alias = ClientAlias { client: client.id, name: old.to_owned(), from, until: moment.now };
        let client = Client { name: new.to_owned(), ..client };
        let mut changes = vec![Change::ClientAlias(alias), Change::Client(client.clone())];
        for stored in self.ask(self.catalog.policies()).await? {
            if stored.policy.clients.iter().any(|name| name == old) {
                let renamed = |name: &String| if name == old { new.to_owned() } else { name.clone() };
                let clients = stored.policy.clients.iter().map(renamed).collect();
                let policy = Policy { clients, ..stored.policy };
                changes.push(Change::Policy(StoredPolicy { policy, ..stored }));
            }
        }
        self.store(&changes).await?;
        Ok(client)
    }

    /// The client that has this name now: its images from before, under another one, are its too. Images that were made
    /// under a name are found by that name alone.
    pub async fn client_called(&self, name: &str) -> Done<Option<ClientId>, C> {
        let clients = self.ask(self.catalog.clients()).await?;
        Ok(clients.iter().find(|client| client.name == name).map(|client| client.id))
    }
}

/// Since when a client has the name that it has.
fn named_since(client: &Client, aliases: &[ClientAlias]) -> Timestamp {
    let before = aliases.iter().filter(|alias| alias.client == client.id);
    before.map(|alias| alias.until).max().unwrap_or(client.enrolled)
}
