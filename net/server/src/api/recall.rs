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
use narrows_domain::{Catalog as _, ImageState, Partner, air::takes, partner::Trust, slp::Slp};
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
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = match (request.image.parse::<ImageId>(), request.image.as_str()) {
        (Ok(image), _) => image,
        (Err(_), name) => named(&app, &partners, name, &ImageFilter::default()).await?.id,
    };
    let partner = match &request.domain {
        Some(name) => find(&app, name).await?,
        None => holder(&app, &partners, image).await?,
    };
    let import_slp = match request.import_slp {
        Some(name) => Some(check_import(&app, name).await?),
        None => usual_import(&app, image).await?,
    };
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    // Before it is asked: it may begin to send before its answer is here.
    let domain = partner.domain;
    app.control
        .act(move |primary, moment| {
            Box::pin(async move { Ok((primary.recall(image, domain, moment).await?, Vec::new())) })
        })
        .await?;
    let asked = PartnerRecall { image, import_slp: import_slp.clone() };
    let reply: Result<RecallReply, ApiError> = api.post(paths::PARTNER_RECALL, &asked).await;
    match reply {
        Ok(reply) => good(RecallReply { domain: partner.name, import_slp, ..reply }),
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

/// The partner that is known to have it: one that answers before one that does not, then who said so last.
async fn holder(app: &App, partners: &[Partner], image: ImageId) -> Result<Partner, Failure> {
    let now = app.clock.now();
    let replicas = app.catalog.replicas(image).await.map_err(|error| internal(&error))?;
    let there = replicas.iter().filter(|it| it.is_there(now)).filter_map(|replica| {
        let partner =
            partners.iter().find(|it| it.domain == replica.partner && it.trust != Trust::Unpaired)?;
        Some((partner.reach.answers(), replica.checked, partner))
    });
    let best = there.max_by_key(|(answers, checked, _)| (*answers, *checked));
    best.map(|(_, _, partner)| partner.clone()).ok_or_else(|| {
        let help =
            "name the domain that has it: --from NAME; `narrowsctl replica list --unknown` asks all of them";
        ApiError::new(codes::NOT_FOUND, format!("no partner is known to have image {image}"))
            .help(help)
            .into()
    })
}

/// The SLP that imports it if nobody names one: none for what is whole here; or else the only one that takes images of its
/// classification, where the policy that it was made under, or came through, counts before others. Without one it lives as long as
/// over there: what was asked for needs none.
async fn usual_import(app: &App, image: ImageId) -> Result<Option<String>, Failure> {
    let known = app.catalog.image(image).await.map_err(|error| internal(&error))?;
    if known.as_ref().is_some_and(|image| image.state == ImageState::Whole) {
        return Ok(None);
    }
    let slps = app.catalog.slps().await.map_err(|error| internal(&error))?;
    let imports = slps.into_iter().map(|version| version.slp).filter(|slp| slp.import().is_some());
    let fits = |slp: &Slp| known.as_ref().is_none_or(|image| takes(slp, &image.classification));
    let names: Vec<_> = imports.filter(|slp| fits(slp)).map(|slp| slp.name).collect();
    let own = known.as_ref().map(|image| image.slp.as_str());
    Ok(match &names[..] {
        [only] => Some(only.clone()),
        names if names.iter().any(|name| Some(name.as_str()) == own) => own.map(str::to_owned),
        _ => None,
    })
}

/// It would be sent for nothing if nothing here took it in.
async fn check_import(app: &App, name: String) -> Result<String, Failure> {
    let version = app.catalog.slp(&name, None).await.map_err(|error| internal(&error))?;
    if version.is_some_and(|version| version.slp.import().is_some()) {
        return Ok(name);
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
    good(RecallReply { image, state, domain: String::new(), import_slp: None })
}
