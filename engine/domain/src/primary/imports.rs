//! Imports that a person asks to be tried again, without waiting for their cause to be seen mended.

use narrows_format::ImageId;

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::Command;
use crate::import::{ArrivedData, Import, ImportState, Proof};
use crate::machine::{Refusal, arrival};
use crate::moment::Moment;

impl<C: Catalog> Primary<C> {
    /// Decides the arrivals of an image anew that are not imported, given up ones included: what is here may be
    /// imported as long as it is here. `proof` is whether its origin's signature is good by what is known now. Returns them as
    /// they stand now; refused for good are none of them, but for want of a proof.
    pub async fn retry_imports(
        &mut self,
        image: ImageId,
        proof: Proof,
        moment: Moment,
    ) -> Done<(Vec<Import>, Vec<Command>), C> {
        let known = self.ask(self.catalog.imports_of(image)).await?;
        if known.is_empty() {
            let sentence = format!("no partner has sent image {image} here");
            return Err(Refusal::new("SLP-013", sentence, "see `narrowsctl import list`").into());
        }
        let open = |it: &&Import| it.may_be_tried();
        let mut commands = Vec::new();
        let mut decided = Vec::new();
        for import in known.iter().filter(open) {
            let mut import = import.clone();
            if proof == Proof::Good {
                import.arrival.proof = proof;
            }
            let around = self.load_arrival(&import.arrival, moment.now).await?;
            let decision = arrival::decide(&around.view(&self.own, self.settings), &import, moment);
            commands.extend(self.settle(decision, moment).await?);
            decided.extend(self.ask(self.catalog.import(import.key)).await?);
        }
        if decided.is_empty() {
            return Err(over(&known));
        }
        Ok((decided, commands))
    }
}

/// Nothing is open: it is all done, or nothing will ever come of it.
fn over<E>(known: &[Import]) -> super::Error<E> {
    let refused = known.iter().find(|it| it.state == ImportState::Refused);
    let is_gone = known.iter().any(|it| it.state == ImportState::GivenUp && it.data == ArrivedData::Gone);
    let refusal = match refused.and_then(|it| it.note.as_ref()) {
        None if is_gone => {
            let help = "mend its cause; its sender sends it again by itself";
            Refusal::new("SLP-013", "the data of the image was given up and has left the pool", help)
        }
        Some(note) => Refusal::new(&note.code, &note.sentence, "send it again once that is mended there"),
        None => Refusal::new("SLP-013", "the image is imported", "there is nothing to try again"),
    };
    refusal.into()
}
