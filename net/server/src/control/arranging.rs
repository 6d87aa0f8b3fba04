//! What people arrange: storage, windows, classifications; and the places that sessions of partners take.

use narrows_domain::{
    Partner,
    machine::placing::Busy,
    storage::{Classification, ReplicationTarget, StorageUnit, StorageUnitGroup},
    window::Window,
};
use narrows_format::{ClientId, DomainId, ImageId, PoolId};

use super::Control;
use crate::api::answer::Failure;

impl Control {
    /// Makes or changes a storage unit.
    pub async fn put_unit(&self, unit: StorageUnit) -> Result<(), Failure> {
        self.act(|primary, now| Box::pin(async move { Ok(((), primary.put_unit(unit, now).await?)) })).await
    }

    /// Makes or changes a storage unit group.
    pub async fn put_group(&self, group: StorageUnitGroup) -> Result<(), Failure> {
        self.act(|primary, now| Box::pin(async move { Ok(((), primary.put_group(group, now).await?)) })).await
    }

    /// What names a storage unit or group.
    pub async fn storage_uses(&self, name: String) -> Result<Vec<String>, Failure> {
        self.act(|primary, _| Box::pin(async move { Ok((primary.storage_uses(&name).await?, Vec::new())) }))
            .await
    }

    /// Removes a storage unit or group.
    pub async fn remove_storage(&self, name: String) -> Result<(), Failure> {
        self.act(|primary, _| Box::pin(async move { Ok((primary.remove_storage(&name).await?, Vec::new())) }))
            .await
    }

    /// Makes or changes a replication target.
    pub async fn put_target(&self, target: ReplicationTarget) -> Result<(), Failure> {
        self.act(|primary, now| Box::pin(async move { Ok(((), primary.put_target(target, now).await?)) }))
            .await
    }

    /// What replicates by a target.
    pub async fn target_uses(&self, pool: PoolId, partner: DomainId) -> Result<Vec<String>, Failure> {
        self.act(move |primary, _| {
            Box::pin(async move { Ok((primary.target_uses(pool, partner).await?, Vec::new())) })
        })
        .await
    }

    /// Removes a replication target.
    pub async fn remove_target(&self, pool: PoolId, partner: DomainId) -> Result<(), Failure> {
        self.act(move |primary, _| {
            Box::pin(async move { Ok((primary.remove_target(pool, partner).await?, Vec::new())) })
        })
        .await
    }

    /// Makes or changes a window; what waits for one is looked at again.
    pub async fn put_window(&self, window: Window) -> Result<(), Failure> {
        self.act(|primary, now| Box::pin(async move { Ok(((), primary.put_window(window, now).await?)) }))
            .await
    }

    /// What names a window.
    pub async fn window_uses(&self, name: String) -> Result<Vec<String>, Failure> {
        self.act(|primary, _| Box::pin(async move { Ok((primary.window_uses(&name).await?, Vec::new())) }))
            .await
    }

    /// Removes a window.
    pub async fn remove_window(&self, name: String) -> Result<(), Failure> {
        self.act(|primary, _| Box::pin(async move { Ok((primary.remove_window(&name).await?, Vec::new())) }))
            .await
    }

    /// Makes or changes a data classification.
    pub async fn put_classification(&self, classification: Classification) -> Result<(), Failure> {
        self.act(|primary, _| {
            Box::pin(async move { Ok((primary.put_classification(classification).await?, Vec::new())) })
        })
        .await
    }

    /// What has a data classification.
    pub async fn classification_uses(&self, name: String) -> Result<Vec<String>, Failure> {
        self.act(|primary, _| {
            Box::pin(async move { Ok((primary.classification_uses(&name).await?, Vec::new())) })
        })
        .await
    }

    /// Removes a data classification.
    pub async fn remove_classification(&self, name: String) -> Result<(), Failure> {
        self.act(|primary, _| {
            Box::pin(async move { Ok((primary.remove_classification(&name).await?, Vec::new())) })
        })
        .await
    }

    /// The client that has this name.
    pub async fn client_called(&self, name: String) -> Result<Option<ClientId>, Failure> {
        self.act(|primary, _| Box::pin(async move { Ok((primary.client_called(&name).await?, Vec::new())) }))
            .await
    }

    /// Jobs under way, by the storage unit that they write to.
    pub async fn busy(&self) -> Result<Busy, Failure> {
        self.act(|primary, _| Box::pin(async move { Ok((primary.busy().await?, Vec::new())) })).await
    }

    /// A partner begins to bring an image of an origin, to a unit that it may have named; the pool that takes it.
    /// [`Self::end_receiving`] says when that is over.
    pub async fn begin_receiving(
        &self,
        sender: DomainId,
        image: (ImageId, DomainId),
        unit: Option<String>,
    ) -> Result<(Partner, PoolId), Failure> {
        self.act(move |primary, moment| {
            Box::pin(async move {
                Ok((primary.begin_receiving(sender, image, unit, moment.now).await?, Vec::new()))
            })
        })
        .await
    }

    /// A session in which a partner brought an image is over.
    pub async fn end_receiving(&self, sender: DomainId, image: ImageId) {
        let ended = self
            .act(move |primary, now| {
                Box::pin(async move { Ok(((), primary.end_receiving(sender, image, now).await?)) })
            })
            .await;
        if let Err(Failure(error)) = ended {
            tracing::debug!(%error, "the end of a session is left to the next start");
        }
    }
}
