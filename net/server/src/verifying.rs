//! SLPs that were stored though a partner could not be asked are checked as soon as it can be, and what waited for that
//! goes on.
//!
//! What stands against one is not stored: it is asked anew each time, by `doctor` too.

use narrows_domain::{Catalog as _, slp::SlpVersion};
use tokio::time::sleep;

use crate::{
    api::{
        App,
        answer::{Failure, internal},
        slps,
    },
    limits::VERIFY_EVERY,
};

/// Runs until it is ended with the server.
pub async fn run(app: App) {
    loop {
        sleep(VERIFY_EVERY).await;
        if let Err(Failure(error)) = round(&app).await {
            tracing::warn!(%error, "SLPs that wait to be checked could not be looked at");
        }
    }
}

async fn round(app: &App) -> Result<(), Failure> {
    let versions = app.catalog.slp_versions().await.map_err(|error| internal(&error))?;
    for version in versions.into_iter().filter(|it| !it.verified) {
        verify(app, version).await?;
    }
    Ok(())
}

async fn verify(app: &App, version: SlpVersion) -> Result<(), Failure> {
    let (slp, number) = (version.slp.name.clone(), version.version);
    let said = slps::ask_partners(app, &version.slp).await?;
    match app.control.verify_slp(version, said).await?.as_deref() {
        Some([first, ..]) => tracing::debug!(slp, version = number, %first, "it still waits to be checked"),
        Some([]) => {
            tracing::info!(
                slp,
                version = number,
                "its targets are checked, and what waited for that goes on"
            );
        }
        None => {}
    }
    Ok(())
}
