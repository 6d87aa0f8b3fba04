//! What people order: anything that the domain's mind does, in its turn among all other orders.

use futures_util::future::BoxFuture;
use narrows_domain::{Command, Moment, Primary, primary};
use tokio::sync::oneshot;

use super::{Control, Order, answer};
use crate::{Catalog, CatalogError, api::answer::Failure};

pub(super) type Error = primary::Error<CatalogError>;

/// Told what became of the deed once its commands were handed out.
pub(super) type Told = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A deed under way: its commands, and whom to tell.
pub(super) type Underway<'p> = BoxFuture<'p, (Result<Vec<Command>, Error>, Told)>;

/// Something to be done with the mind.
pub(super) type Deed = Box<dyn for<'p> FnOnce(&'p mut Primary<Catalog>, Moment) -> Underway<'p> + Send>;

/// What a deed gives, and what has to be done outside because of it.
pub(super) type Done<T> = Result<(T, Vec<Command>), Error>;

impl Control {
    /// Has the domain's mind do something, and gives what came of it. The commands are handed out first.
    pub async fn act<T, F>(&self, deed: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: for<'p> FnOnce(&'p mut Primary<Catalog>, Moment) -> BoxFuture<'p, Done<T>> + Send + 'static,
    {
        self.order(move |reply| Order::Deed(wrapped(deed, reply))).await
    }
}

fn wrapped<T, F>(deed: F, reply: oneshot::Sender<Result<T, Error>>) -> Deed
where
    T: Send + 'static,
    F: for<'p> FnOnce(&'p mut Primary<Catalog>, Moment) -> BoxFuture<'p, Done<T>> + Send + 'static,
{
    Box::new(move |primary, moment| {
        let doing = deed(primary, moment);
        Box::pin(async move {
            match doing.await {
                Ok((value, commands)) => {
                    let told: Told = Box::new(move |outcome| answer(reply, outcome.map(|()| value)));
                    (Ok(commands), told)
                }
                Err(error) => {
                    let told: Told = Box::new(move |outcome| {
                        if let Err(error) = outcome {
                            answer(reply, Err(error));
                        }
                    });
                    (Err(error), told)
                }
            }
        })
    })
}
