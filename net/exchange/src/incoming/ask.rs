//! Questions: what a source asks by an offer, a node or a reopened node, and the answers to them.
//!
//! Look-ups of many questions are under way at once; answers go out in the order in which questions came, and
//! what one answer decides holds for the next.

use std::{pin::pin, rc::Rc, time::Duration};

use futures_util::{
    StreamExt as _,
    future::{Either, select, try_join},
    stream,
};
use narrows_format::{
    Fingerprint,
    node::{Child, ChildKind, envelope},
};
use narrows_wire::{Answer, Class, Message, Offer, Presence, Proof, Reopen, Settle, TagPrefix};

use super::{Incoming, State, nodes::FrameWork, stage::Asker as Waiting};
use crate::{
    Asker, ExchangeError, Found, StoreError,
    hello::send,
    limits::{LOOK_UPS_MAX, OPEN_ASKS_MAX, PENDING_TICK},
};

/// One node or offer whose children are asked about.
pub(super) struct Question {
    pub(super) ordinal: u32,
    pub(super) children: Vec<Child>,
    pub(super) proof: Proof,
    /// For each child, whether the store has to be asked.
    pub(super) look_up: Vec<bool>,
    pub(super) subject: Subject,
}

/// What asks.
pub(super) enum Subject {
    /// A list; its message's credit goes back with the answer.
    Offer { message_bytes: usize },
    /// A staged node; its children are read when its turn comes.
    Reopen { node: Fingerprint, message_bytes: usize },
    /// The node at this place of a frame.
    Node { frame: Rc<FrameWork>, place: usize },
}

/// A question, and what the store knows of the children that it was asked for.
pub(super) type Looked = Result<(Question, Vec<Option<Found>>), ExchangeError>;

impl State {
    /// The next one to be looked up, unless so many are that were not answered yet.
    fn next_question(&mut self) -> Option<Question> {
        let next = if self.looking_up < LOOK_UPS_MAX { self.questions.pop_front() } else { None };
        self.looking_up += usize::from(next.is_some());
        next
    }
}

impl Incoming<'_> {
    /// The ordinals of `count` questions, which have to follow each other without a gap.
    pub(super) fn take_ordinals(&self, first: u32, count: usize) -> Result<(), ExchangeError> {
        let mut state = self.state.borrow_mut();
        if first != state.next_ordinal {
            return Err(ExchangeError::malformed("ordinals out of order"));
        }
        let next = u32::try_from(count).ok().and_then(|count| first.checked_add(count));
        state.next_ordinal = next.ok_or_else(|| ExchangeError::limit("ordinals of one session"))?;
        state.asking += count;
        if state.asking > OPEN_ASKS_MAX {
            return Err(ExchangeError::limit(format!("more than {OPEN_ASKS_MAX} questions are open")));
        }
        Ok(())
    }

    pub(super) fn take_offer(&self, offer: Offer, message_bytes: usize) -> Result<(), ExchangeError> {
        self.take_ordinals(offer.ordinal, 1)?;
        let mut state = self.state.borrow_mut();
        state.intake.enter(message_bytes)?;
        let look_up = state.open.ask(&offer.children, &offer.proof, false)?;
        state.questions.push_back(Question {
            ordinal: offer.ordinal,
            children: offer.children,
            proof: offer.proof,
            look_up,
            subject: Subject::Offer { message_bytes },
        });
        Ok(())
    }

    pub(super) fn take_reopen(&self, reopen: &Reopen, message_bytes: usize) -> Result<(), ExchangeError> {
        self.take_ordinals(reopen.ordinal, 1)?;
        let mut state = self.state.borrow_mut();
        state.intake.enter(message_bytes)?;
        if !state.open.reopen(&reopen.fingerprint) {
            return Err(ExchangeError::unasked("a node is reopened that was not answered as staged"));
        }
        state.questions.push_back(Question {
            ordinal: reopen.ordinal,
            children: Vec::new(),
            proof: reopen.proof.clone(),
            look_up: Vec::new(),
            subject: Subject::Reopen { node: reopen.fingerprint, message_bytes },
        });
        Ok(())
    }

    /// The root named in `Begin`: a question of one child, asked before anything else.
    pub(super) async fn ask_root(&self, root: Child, prefix: TagPrefix) -> Result<Presence, ExchangeError> {
        let proof = Proof { classes: vec![Class::Fresh(prefix)], combined: [0; 16] };
        self.state.borrow_mut().open.ask(&[root], &proof, true)?;
        let found = self.look_up(Asker::Offer, &[root]).await?;
        let found: Vec<_> = found.into_iter().map(Some).collect();
        let presences = self.state.borrow_mut().open.answer(0, &[root], &proof, &found, self.now());
        presences.first().copied().ok_or_else(|| ExchangeError::malformed("one root, one answer"))
    }

    /// Answers questions as long as the session lasts. Look-ups go on while an answer waits for a source that does not read:
    /// others wait for the buffers that they stand for.
    pub(super) async fn answer_all(&self) -> Result<(), ExchangeError> {
        try_join(self.find_all(), self.answer_found()).await.map(|_| ())
    }

    async fn find_all(&self) -> Result<(), ExchangeError> {
        let questions = stream::unfold((), |()| async {
            let next = self.gate.until(|| self.state.borrow_mut().next_question()).await;
            Some((next, ()))
        });
        let mut found = pin!(questions.map(|question| self.find(question)).buffered(LOOK_UPS_MAX));
        while let Some(found) = found.next().await {
            self.state.borrow_mut().found.push_back(found);
            self.gate.open();
        }
        Ok(())
    }

    async fn answer_found(&self) -> Result<(), ExchangeError> {
        loop {
            let looked = self.gate.until(|| self.state.borrow_mut().found.pop_front()).await;
            let (question, found) = looked?;
            self.answer(question, &found).await?;
            self.state.borrow_mut().looking_up -= 1;
            self.gate.open();
        }
    }

    /// Asks the store. The second part has one entry for each child (`None`: not asked), and for a node that
    /// nobody named one more for itself.
    async fn find(&self, mut question: Question) -> Looked {
        let staged = match &question.subject {
            Subject::Reopen { node, .. } => Some((*node, self.read_staged(*node).await?)),
            _ => None,
        };
        if let Some((_, bytes)) = &staged {
            question.children = envelope::children(bytes)
                .map_err(|bad| ExchangeError::Store(StoreError::new("POOL-001", bad.to_string())))?;
            check_proof(&question.proof, question.children.len())?;
            question.look_up = self.state.borrow_mut().open.ask(&question.children, &question.proof, true)?;
        }
        let wanted = question.children.iter().zip(&question.look_up);
        let mut asked: Vec<Child> = wanted.filter(|(_, asked)| **asked).map(|(child, _)| *child).collect();
        let who = match (&question.subject, &staged) {
            (Subject::Node { frame, place }, _) => {
                let node = frame.node(*place);
                if frame.is_unnamed(*place) {
                    asked.push(node_child(node.fingerprint, node.bytes.len()));
                }
                Asker::Node { fingerprint: node.fingerprint, bytes: &node.bytes }
            }
            (_, Some((node, bytes))) => Asker::Node { fingerprint: *node, bytes },
            _ => Asker::Offer,
        };
        let mut results = self.look_up(who, &asked).await?.into_iter();
        let mut found: Vec<Option<Found>> =
            question.look_up.iter().map(|asked| if *asked { results.next() } else { None }).collect();
        found.extend(results.map(Some));
        Ok((question, found))
    }

    async fn read_staged(&self, node: Fingerprint) -> Result<Vec<u8>, ExchangeError> {
        let read = self.store.staged_node(node).await.map_err(ExchangeError::Store)?;
        read.ok_or_else(|| ExchangeError::Store(StoreError::new("POOL-001", "a staged node is gone")))
    }

    async fn look_up(&self, asker: Asker<'_>, children: &[Child]) -> Result<Vec<Found>, ExchangeError> {
        if children.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.look_up(asker, children).await.map_err(ExchangeError::Store)?;
        assert_eq!(found.len(), children.len(), "a store answers for each child");
        Ok(found)
    }

    async fn answer(&self, question: Question, found: &[Option<Found>]) -> Result<(), ExchangeError> {
        let Question { ordinal, children, proof, subject, .. } = question;
        let (found, own) = found.split_at(children.len());
        let presences = {
            let mut state = self.state.borrow_mut();
            state.asking -= 1;
            let presences = state.open.answer(ordinal, &children, &proof, found, self.now());
            match subject {
                Subject::Offer { message_bytes } | Subject::Reopen { message_bytes, .. } => {
                    state.intake.leave(message_bytes);
                }
                Subject::Node { frame, place } => {
                    if let Some(found) = own.first().copied().flatten() {
                        state.open.unnamed_found(&frame.node(place).fingerprint, found);
                    }
                    if frame.is_last(place) {
                        state.put_nodes(frame);
                    }
                }
            }
            presences
        };
        self.gate.open();
        send(&self.session.link, &Message::Answer(Answer { ordinal, presences })).await
    }

    fn now(&self) -> Duration {
        self.session.link.world().clock.monotonic()
    }

    /// Passes on what became of children that other sessions were bringing; asks for those that take too long.
    pub(super) async fn settle_all(&self) -> Result<(), ExchangeError> {
        let clock = &self.session.link.world().clock;
        let mut tick = clock.sleep(PENDING_TICK);
        loop {
            self.gate.until(|| self.state.borrow().open.has_pending().then_some(())).await;
            match select(self.store.settled(), tick).await {
                Either::Left((settled, same)) => {
                    tick = same;
                    for (name, found) in settled.map_err(ExchangeError::Store)? {
                        let settled = self.state.borrow_mut().open.settle(&name, found);
                        if let Some((asker, presence)) = settled {
                            self.tell_settled(asker, presence).await?;
                        }
                    }
                }
                Either::Right(((), _)) => {
                    tick = clock.sleep(PENDING_TICK);
                    let overdue = self.state.borrow_mut().open.overdue(self.now());
                    for asker in overdue {
                        self.tell_settled(asker, Presence::Lack).await?;
                    }
                }
            }
        }
    }

    async fn tell_settled(&self, asker: Waiting, presence: Presence) -> Result<(), ExchangeError> {
        let settle = Settle { ordinal: asker.ordinal, child: asker.child, presence };
        send(&self.session.link, &Message::Settle(settle)).await
    }
}

pub(super) fn node_child(fingerprint: Fingerprint, bytes: usize) -> Child {
    let length = u32::try_from(bytes).unwrap_or(u32::MAX);
    Child { fingerprint, kind: ChildKind::Node, length }
}

/// A proof shows nothing, or something of each child.
pub(super) fn check_proof(proof: &Proof, children: usize) -> Result<(), ExchangeError> {
    if proof.classes.is_empty() || proof.classes.len() == children {
        Ok(())
    } else {
        Err(ExchangeError::malformed("a proof for another number of children"))
    }
}
