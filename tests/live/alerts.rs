//! Goal: the operator's program is run for each problem that is new, and for none twice.
//! Method: a program that writes what it reads behind what is there (`tee -a`), and problems that come and go.

use std::{path::Path, time::Duration};

use narrows_api::{
    paths,
    server::{Finding, Level},
    slps::ApplyRequest,
};
use serde::Deserialize;

use crate::{
    house::House,
    pairing::{apply, import_slp, pair_both, slp},
};

#[derive(Debug, Deserialize)]
struct Alert {
    domain: String,
    #[serde(flatten)]
    problem: Finding,
}

fn of_slp(alerts: &[Alert]) -> Vec<&Alert> {
    alerts.iter().filter(|it| it.problem.check == "slp gold").collect()
}

/// What was told, once the SLP is among it.
async fn told(file: &Path) -> Vec<Alert> {
    for _ in 0..1200 {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.ends_with('\n') {
            let alerts: Vec<Alert> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if !of_slp(&alerts).is_empty() {
                return alerts;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the SLP is not told: {:?}", std::fs::read_to_string(file));
}

async fn is_unverified(house: &House) -> bool {
    let problems: Vec<Finding> = house.admin().get(paths::PROBLEMS).await.unwrap();
    problems.iter().any(|it| it.check == "slp gold" && it.code == "SLP-008")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_run_for_each_new_problem() {
    let (mut east, mut west) = pair_both().await;
    apply(&west, &import_slp()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("told");
    let program = ["/usr/bin/tee", "-a", file.to_str().unwrap()].map(str::to_owned);
    east.restart_with(|it| it.notify = Some(program.into())).await;
    let problems: Vec<Finding> = east.admin().get(paths::PROBLEMS).await.unwrap();
    assert_eq!(problems, [], "nothing is amiss");

    west.stop().await;
    apply(&east, &ApplyRequest { unverified: true, ..slp("west") }).await.unwrap();
    let first = told(&file).await;
    let alert = of_slp(&first)[0];
    assert_eq!((alert.domain.as_str(), alert.problem.code.as_str()), ("east", "SLP-008"), "{alert:?}");
    assert!(alert.problem.level == Level::Error && !alert.problem.help.is_empty(), "{alert:?}");

    // Meanwhile it is looked at more than once.
    west.start().await;
    for _ in 0..1200 {
        if !is_unverified(&east).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!is_unverified(&east).await, "it is checked by itself");
    let known = told(&file).await;
    assert_eq!(of_slp(&known).len(), 1, "it is told once: {known:?}");
    for house in [&mut east, &mut west] {
        house.stop().await;
    }
}
