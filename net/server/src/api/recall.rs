//! Getting an image back from a partner: one that was made here, or sent from here, and is only there, or whose copy here
//! has expired.
//!
//! The partner sends it as it sends any image; what decides over there is the grant `recall`, and here the SLP that
//! imports it.

use axum::extract::State;
use narrows_api::{
    ApiError,
    error::codes,
    images::ImageFilter,
    paths,
    timeline::{PartnerRecall, RecallReply, RecallRequest},
};
use narrows_domain::{Catalog as _, ImageState};
use narrows_format::ImageId;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::{Admin, PartnerCaller},
    domains::find,
    images::named,
};

/// POST: asks the partner to send it.
pub async fn recall(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<RecallRequest>,
) -> Answer<RecallReply> {
    let partner = find(&app, &request.domain).await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = match (request.image.parse::<ImageId>(), request.image.as_str()) {
        (Ok(image), _) => image,
        (Err(_), name) => named(&app, &partners, name, &ImageFilter::default()).await?.id,
    };
    check_import(&app, image, request.import_slp.as_deref()).await?;
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    // Before it is asked: it may begin to send before its answer is here.
    let domain = partner.domain;
    app.control
        .act(move |primary, moment| {
            Box::pin(async move { Ok((primary.recall(image, domain, moment).await?, Vec::new())) })
        })
        .await?;
    let asked = PartnerRecall { image, import_slp: request.import_slp };
    let reply: Result<RecallReply, ApiError> = api.post(paths::PARTNER_RECALL, &asked).await;
    match reply {
        Ok(reply) => good(reply),
        Err(error) => {
            // Without an answer in time it may have begun; then what was asked for stays asked for.
            if error.code != codes::TIMED_OUT {
                app.control
                    .act(move |primary, _| {
                        Box::pin(
                            async move { Ok((primary.give_up_recall(image, domain).await?, Vec::new())) },
                        )
                    })
                    .await?;
            }
            Err(error.into())
        }
    }
}

/// It would be sent for nothing if nothing here took it in.
async fn check_import(app: &App, image: ImageId, import_slp: Option<&str>) -> Result<(), Failure> {
    let Some(name) = import_slp else {
        let known = app.catalog.image(image).await.map_err(|error| internal(&error))?;
        if known.is_some_and(|image| image.state == ImageState::Whole) {
            return Ok(());
        }
        let error = ApiError::new(codes::MALFORMED, "an image that is not here needs an SLP that imports it")
            .at("field `import_slp`")
            .help("name one that begins with an Import: --import-slp NAME");
        return Err(error.into());
    };
    let version = app.catalog.slp(name, None).await.map_err(|error| internal(&error))?;
    if version.is_some_and(|version| version.slp.import().is_some()) {
        return Ok(());
    }
    let error = ApiError::new("SLP-013", format!("there is no SLP `{name}` here that begins with an Import"))
        .at("field `import_slp`")
        .help("`narrowsctl slp list` shows what there is");
    Err(error.into())
}

/// POST: a partner asks for an image of its own.
pub async fn for_partner(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Body(request): Body<PartnerRecall>,
) -> Answer<RecallReply> {
    app.caught_up().await?;
    let (image, to) = (request.image, (partner.domain, request.import_slp));
    let operation = app
        .control
        .act(move |primary, moment| Box::pin(async move { primary.recalled(image, to, moment).await }));
    let state = operation.await?.state.to_string();
    tracing::info!(%image, partner = %partner.name, "an image is recalled");
    good(RecallReply { image, state })
}
