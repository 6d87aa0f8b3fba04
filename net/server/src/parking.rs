//! Connections that are used the other way round: for a partner that nobody can dial.
//!
//! Such a partner (a vault whose firewall lets nothing in) dials the API's port of the other domain itself and *parks* a few
//! connections there ([`keeper`] makes them, [`spot`] takes them in). Whoever would dial it takes one of them instead
//! ([`Parking::call`]), and from then on speaks by it exactly as if it had dialled: TLS with both certificates, and then requests
//! ([`requests`]) or the data plane's hello. So nothing else knows of it.
//!
//! A connection is parked under TLS of its own, with both certificates, so that a stranger can park nothing. When it is called the
//! two sides let go of that TLS and keep the connection: what follows is protected by the TLS that the caller begins, and nothing
//! is encrypted twice. Each step waits for the answer to the one before, so neither side reads bytes of the next protocol as
//! TLS of the one before.
//!
//! Guarantees: who is not known as a partner that dials parks nothing (AUTH-005); parked connections are bounded, for each partner and in time,
//! end with trust in their partner, and end when the window shuts in which its domain dials.

pub mod dialling;
pub mod keeper;
pub mod requests;
pub mod spot;

pub mod words;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use narrows_api::text::time_out;
use narrows_domain::{
    partner::{Dials, Partner, Trust},
    window::Gate,
};
use narrows_format::{DomainId, Timestamp};
use tokio::{
    net::TcpStream,
    sync::{Notify, oneshot, watch},
    time::{Instant, timeout_at},
};

use self::words::Called;
use crate::limits::{CALL_WAIT, PARKED_PER_PARTNER_MAX};

/// What is parked here, and whom this domain may not dial just now.
#[derive(Default)]
pub struct Parking {
    state: Mutex<State>,
    /// Something was parked.
    came: Notify,
    /// What is to be parked elsewhere has changed.
    changed: Notify,
    /// Counts windows that shut.
    shutting: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Partners that dial, and are called by what they parked.
    lots: BTreeMap<DomainId, Lot>,
    /// Partners that are not spoken to before a window opens.
    shut: BTreeMap<DomainId, Option<Timestamp>>,
    /// Partners that are spoken to nonetheless, by so many orders.
    held: BTreeMap<DomainId, usize>,
}

/// While it lasts no window is shut for a partner.
pub struct Held<'a> {
    parking: &'a Parking,
    domain: DomainId,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.parking.state();
        if let Some(orders) = state.held.get_mut(&self.domain) {
            *orders -= 1;
            if *orders == 0 {
                state.held.remove(&self.domain);
            }
        }
        drop(state);
        self.parking.changed.notify_one();
    }
}

/// What one partner has parked.
struct Lot {
    name: String,
    spots: VecDeque<oneshot::Sender<Call>>,
    /// When it parked something last.
    last: Option<Timestamp>,
    /// It said that it comes back then; open: it did not.
    window: Gate,
}

impl Lot {
    fn of(name: &str) -> Self {
        Self { name: name.to_owned(), spots: VecDeque::new(), last: None, window: Gate::Open }
    }
}

/// Somebody wants the connection.
struct Call {
    called: Called,
    reply: oneshot::Sender<TcpStream>,
}

impl Parking {
    /// Knows from now on which of the two dials.
    pub fn know(&self, partner: &Partner) {
        let is_caller = partner.dials == Dials::Partner && partner.trust != Trust::Unpaired;
        let mut state = self.state();
        if is_caller {
            let lot = state.lots.entry(partner.domain).or_insert_with(|| Lot::of(&partner.name));
            lot.name.clone_from(&partner.name);
        } else {
            state.lots.remove(&partner.domain);
        }
        if partner.dials != Dials::Own {
            state.shut.remove(&partner.domain);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// It is no partner any more: what it parked ends.
    pub fn forget(&self, domain: DomainId) {
        let mut state = self.state();
        state.lots.remove(&domain);
        state.shut.remove(&domain);
        drop(state);
        self.changed.notify_one();
    }

    /// Whether this partner is called by what it parks.
    pub fn is_caller(&self, domain: DomainId) -> bool {
        self.state().lots.contains_key(&domain)
    }

    /// Why this partner may not be dialled now, if that is so.
    pub fn shut(&self, domain: DomainId) -> Option<String> {
        let opens = *self.state().shut.get(&domain)?;
        Some(format!("the window in which it is dialled is shut{}", until(opens)))
    }

    /// Comes when the window is shut in which this partner is dialled; never for others. What is said to it then is cut off.
    pub async fn shutting(&self, domain: DomainId) -> String {
        let mut shutting = self.shutting.subscribe();
        loop {
            shutting.borrow_and_update();
            if let Some(why) = self.shut(domain) {
                return why;
            }
            if shutting.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Somebody has ordered what has to be said to a partner now. The keeper looks again when that is over.
    pub fn hold_open(&self, domain: DomainId) -> Held<'_> {
        let mut state = self.state();
        *state.held.entry(domain).or_default() += 1;
        state.shut.remove(&domain);
        drop(state);
        self.changed.notify_one();
        Held { parking: self, domain }
    }

    /// Whether the window is open in which a partner is dialled. Gives what holds.
    pub fn set_gate(&self, domain: DomainId, gate: Gate) -> Gate {
        let mut state = self.state();
        let gate = if state.held.contains_key(&domain) { Gate::Open } else { gate };
        let Gate::ShutUntil(opens) = gate else {
            state.shut.remove(&domain);
            return gate;
        };
        let before = state.shut.insert(domain, opens);
        drop(state);
        if before.is_none() {
            self.shutting.send_modify(|count| *count += 1);
        }
        gate
    }

    /// A partner has come. What comes by the receiver is a call; `None`: it has enough here, or may not.
    fn arrive(&self, domain: DomainId, now: Timestamp) -> Option<(oneshot::Receiver<Call>, bool)> {
        let mut state = self.state();
        let lot = state.lots.get_mut(&domain)?;
        lot.spots.retain(|spot| !spot.is_closed());
        if lot.spots.len() >= PARKED_PER_PARTNER_MAX {
            return None;
        }
        let is_first = lot.spots.is_empty();
        (lot.last, lot.window) = (Some(now), Gate::Open);
        let (call, called) = oneshot::channel();
        lot.spots.push_back(call);
        drop(state);
        self.came.notify_waiters();
        Some((called, is_first))
    }

    /// It was heard.
    fn hear(&self, domain: DomainId, now: Timestamp) {
        if let Some(lot) = self.state().lots.get_mut(&domain) {
            lot.last = Some(now);
        }
    }

    /// A partner said that it leaves, and comes back then.
    fn leaves(&self, domain: DomainId, back: Option<Timestamp>) {
        if let Some(lot) = self.state().lots.get_mut(&domain) {
            lot.window = Gate::ShutUntil(back);
        }
    }

    /// A connection to a partner that parks some, ready for what would be said by one that was dialled; waits a while for one to
    /// come. Otherwise why there is none.
    pub async fn call(&self, domain: DomainId, called: Called) -> Result<TcpStream, String> {
        let patience = Instant::now() + CALL_WAIT;
        loop {
            let came = self.came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            while let Some(spot) = self.take(domain) {
                let (reply, answer) = oneshot::channel();
                // One that broke meanwhile is none.
                if spot.send(Call { called, reply }).is_err() {
                    continue;
                }
                match timeout_at(patience, answer).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(_)) => {}
                    Err(_) => return Err(self.silence(domain)),
                }
            }
            let is_away = self.state().lots.get(&domain).is_none_or(|lot| lot.window != Gate::Open);
            if is_away || timeout_at(patience, came).await.is_err() {
                return Err(self.silence(domain));
            }
        }
    }

    /// The one that came last: it is the least likely to have broken since.
    fn take(&self, domain: DomainId) -> Option<oneshot::Sender<Call>> {
        self.state().lots.get_mut(&domain)?.spots.pop_back()
    }

    /// Why nothing of a partner is parked.
    fn silence(&self, domain: DomainId) -> String {
        let state = self.state();
        let Some(lot) = state.lots.get(&domain) else {
            return "it is no partner that dials in".to_owned();
        };
        let name = &lot.name;
        match (lot.window, lot.last) {
            (Gate::ShutUntil(back), _) => {
                format!("`{name}` dials in by itself, and is outside of its window{}", until(back))
            }
            (Gate::Open, Some(last)) => {
                format!("`{name}` dials in by itself, and was last heard at {}", time_out(last))
            }
            (Gate::Open, None) => {
                format!("`{name}` dials in by itself, and has not since this server was started")
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until(opens: Option<Timestamp>) -> String {
    opens.map_or_else(String::new, |opens| format!(" until {}", time_out(opens)))
}

#[cfg(test)]
mod tests;
