//! Clients under their names: what has a name now, what had it before.

use narrows_format::{ClientId, Timestamp};

use super::storage::{CLASH, absent, taken};
use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::Change;
use crate::limits::{CROWDED_RENEWAL_SECONDS, STILL_BELIEVED_MAX};
use crate::machine::Refusal;
use crate::moment::Moment;
use crate::policy::{Policy, StoredPolicy};
use crate::storage::{Client, ClientAlias, Issued, RESTORE_ANY};
use crate::token::TokenPurpose;

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

    /// Uses a token that enrols a client (AUTH-004, API-003 for a name that is taken).
    pub async fn enroll_client(&mut self, secret: &[u8], client: Client, moment: Moment) -> Done<(), C> {
        if self.client_called(&client.name).await?.is_some() {
            return Err(taken("client", &client.name).into());
        }
        self.redeem(secret, TokenPurpose::Enroll, &[Change::Client(client)], moment).await?;
        Ok(())
    }

    /// Uses a token that gives a client a certificate in place of all that it has, those among them that were issued since
    /// the token was looked at (AUTH-004).
    pub async fn replace_client(
        &mut self,
        secret: &[u8],
        (id, issued): (ClientId, Issued),
        moment: Moment,
    ) -> Done<Client, C> {
        let Some(before) = self.ask(self.catalog.client(id)).await? else {
            return Err(absent("client", &id.to_string()).into());
        };
        let client = before.with_instead(issued, moment.now);
        self.redeem(secret, TokenPurpose::Replace, &[Change::Client(client.clone())], moment).await?;
        Ok(client)
    }

    /// None of a client's certificates is believed any more, until it is given another one, and its right goes with them. One that
    /// is revoked already keeps its time.
    pub async fn revoke_client(&mut self, name: &str, moment: Moment) -> Done<Client, C> {
        let clients = self.ask(self.catalog.clients()).await?;
        let known = clients.into_iter().find(|client| client.name == name);
        let mut client = known.ok_or_else(|| absent("client", name))?;
        client.revoked = client.revoked.or(Some(moment.now));
        client.former.append(&mut client.still_believed);
        client.restore_any = false;
        self.store(&[Change::Client(client.clone())]).await?;
        Ok(client)
    }

    /// Gives a client rights, then takes others away; [`RESTORE_ANY`] is the one that there is (SLP-013).
    pub async fn grant_client(&mut self, name: &str, given: &[String], taken: &[String]) -> Done<Client, C> {
        if let Some(unknown) = given.iter().chain(taken).find(|word| *word != RESTORE_ANY) {
            let sentence = format!("`{unknown}` is no right of a client");
            return Err(Refusal::new("SLP-013", sentence, format!("`{RESTORE_ANY}` is one")).into());
        }
        let clients = self.ask(self.catalog.clients()).await?;
        let known = clients.into_iter().find(|client| client.name == name);
        let mut client = known.ok_or_else(|| absent("client", name))?;
        client.restore_any = (client.restore_any || !given.is_empty()) && taken.is_empty();
        self.store(&[Change::Client(client.clone())]).await?;
        Ok(client)
    }

    /// A client that showed the certificate `shown` has been issued another one in its place. The one that it showed, and
    /// the newest before it, are believed until they end: what was issued may never have reached it. Of more than
    /// [`STILL_BELIEVED_MAX`] the oldest is believed no more, so that a client which can't keep what it is given is never
    /// locked out with the one that it has.
    pub async fn renew_client(
        &mut self,
        id: ClientId,
        (shown, issued): (Issued, Issued),
        moment: Moment,
    ) -> Done<Client, C> {
        let Some(mut client) = self.ask(self.catalog.client(id)).await? else {
            return Err(absent("client", &id.to_string()).into());
        };
        let is_one_of_its = shown.serial == client.serial
            || client.still_believed.iter().any(|issued| issued.serial == shown.serial);
        if client.revoked.is_some() || !is_one_of_its {
            let sentence = format!("the certificate that `{}` shows was replaced", client.name);
            let help = "an administrator gives it another: `narrowsctl client replace NAME`";
            return Err(Refusal::new("AUTH-003", sentence, help).into());
        }
        let newest = client.newest();
        let age = issued.until.seconds.saturating_sub(newest.until.seconds);
        client.still_believed.push(newest);
        client.still_believed.retain(|it| it.serial != shown.serial && it.until > moment.now);
        client.still_believed.push(shown);
        client.former.retain(|it| it.until > moment.now);
        if client.still_believed.len() > STILL_BELIEVED_MAX {
            if age < CROWDED_RENEWAL_SECONDS {
                let sentence =
                    format!("`{}` has {STILL_BELIEVED_MAX} certificates beside its newest", client.name);
                let help = "it can't keep what it is given: look at its folder of contexts; it is given one a day meanwhile";
                return Err(Refusal::new(CLASH, sentence, help).into());
            }
            client.former.push(client.still_believed.remove(0));
        }
        (client.serial, client.until) = (issued.serial, Some(issued.until));
        self.store(&[Change::Client(client.clone())]).await?;
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
