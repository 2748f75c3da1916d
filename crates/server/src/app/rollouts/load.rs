//! How much the database does for a rollout of ten thousand devices, with every device's order fetched and answered as the journal notes
//! it. Not a test of speed: it prints. Run by hand: `cargo test --release -p kusabi-server --lib load -- --ignored --nocapture`.

use super::{machine::Standing, steps};
use crate::{
    Store,
    app::Error,
    store::{Tx, devices, doorstep, rollouts as rows, timeline},
};
use kusabi_api::{
    Hex,
    admin::{
        Device, DeviceClass, DeviceFilter, DeviceState, EventKind, Freshness, Inventory,
        OrderState, Phase, PhaseSize, RolloutCounts, RolloutCreate, RolloutDeviceState as At,
        RolloutState,
    },
};
use kusabi_core::id::OrgId;
use serde_json::json;
use sqlx::Row as _;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const DEVICES: u64 = 10_000;

/// Jobs of one transaction of the journal.
const JOBS: usize = 256;

/// What this process has used of the processors.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    // After the name: the state is field 1, user and system time are fields 12 and 13, in hundredths of seconds.
    Duration::from_millis((ticks(12) + ticks(13)) * 10)
}

async fn fleet(tx: &mut Tx<'_>) -> Result<(), Error> {
    for number in 0..DEVICES {
        let id = kusabi_core::crypto::sha256(&[b"load", &number.to_be_bytes()]);
        let mut short = [0; 16];
        short.copy_from_slice(&id[..16]);
        let device = Device {
            id: format!("dev_{}", Hex(short)),
            class: DeviceClass::Kusabi,
            state: DeviceState::Active,
            device_type: None,
            serial: None,
            name: None,
            firmware: None,
            inventory: Inventory::Unknown,
            freshness: Freshness::Unknown,
            last_contact_ms: None,
            created_ms: 1,
        };
        devices::insert(tx.on(), &device).await?;
    }
    Ok(())
}

/// The orders in this state: device and order.
async fn orders(store: &Store, state: OrderState) -> Vec<(String, u64)> {
    let mut reader = store.read("look").await.unwrap();
    let rows = sqlx::query("SELECT device, order_id FROM device_orders WHERE state = $1")
        .bind(state.name())
        .fetch_all(reader.on().connection)
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            (
                row.get("device"),
                row.get::<i64, _>("order_id").unsigned_abs(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn ten_thousand_devices_through_three_phases() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.sqlite");
    let store = Store::sqlite(&path, OrgId::new([7; 16])).await.unwrap();
    store
        .tx("make a fleet", |tx| Box::pin(fleet(tx)))
        .await
        .unwrap();
    let plan = RolloutCreate {
        name: "load".parse().unwrap(),
        release: Hex([7; 32]),
        devices: DeviceFilter::default(),
        phases: [
            PhaseSize::Percent(1),
            PhaseSize::Percent(10),
            PhaseSize::Rest,
        ]
        .map(Phase::new)
        .into(),
        retries: 1,
        force: false,
        start_ms: None,
        deadline_secs: None,
    };
    let (began, used) = (Instant::now(), cpu());
    let plan = &plan;
    let make = store.tx("make a rollout", move |tx| {
        Box::pin(async move {
            let id = rows::insert(tx.on(), plan, &Standing::new(), 1, "load").await?;
            steps::settle_all(tx, 1, &[id]).await
        })
    });
    make.await.unwrap();
    println!("made in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    let mut tries: BTreeMap<String, u32> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    let mut transactions = 0;
    for _ in 0..100 {
        let waiting = orders(&store, OrderState::Waiting).await;
        if waiting.is_empty() {
            break;
        }
        for jobs in waiting.chunks(JOBS) {
            // One in fifty fails the first time.
            let outcomes: Vec<_> = jobs
                .iter()
                .map(|(device, order)| {
                    let tries = tries.entry(device.clone()).or_default();
                    *tries += 1;
                    let first = device.get(4..6).unwrap_or_default();
                    let fails = *tries == 1 && ("70".."75").contains(&first);
                    let outcome = if fails {
                        OrderState::Failed
                    } else {
                        OrderState::Done
                    };
                    (device.clone(), *order, outcome)
                })
                .collect();
            let (jobs, outcomes) = (&jobs, &outcomes);
            for sends in [true, false] {
                let one = Instant::now();
                let noted = store.tx("note what devices did", move |tx| {
                    Box::pin(async move {
                        let mut heard = steps::Heard::default();
                        for (device, order, outcome) in outcomes {
                            let (from, to) = match sends {
                                true => (OrderState::Waiting, OrderState::Sent),
                                false => (OrderState::Sent, *outcome),
                            };
                            let set =
                                doorstep::set_order(tx.on(), device, *order, [from; 2], to, 2);
                            assert!(set.await?);
                            let detail = json!({ "order": order });
                            if !sends {
                                doorstep::answered(tx.on(), *order).await?;
                            }
                            timeline::append(tx.on(), device, 2, EventKind::OrderSent, &detail)
                                .await?;
                        }
                        match sends {
                            true => heard.sent = jobs.to_vec(),
                            false => heard.answered = outcomes.clone(),
                        }
                        steps::heard(tx, 2, &heard).await
                    })
                });
                noted.await.unwrap();
                longest = longest.max(one.elapsed());
                transactions += 1;
            }
        }
    }
    let elapsed = began.elapsed();
    let mut reader = store.read("look").await.unwrap();
    let kept = rows::find(reader.on(), 1).await.unwrap().unwrap();
    let expected = RolloutCounts {
        done: DEVICES,
        ..RolloutCounts::default()
    };
    assert_eq!(kept.standing.state, RolloutState::Done);
    assert_eq!(kept.standing.counts, expected);
    // What is kept is what there is.
    let done = sqlx::query(
        "SELECT COUNT(*) AS devices FROM rollout_devices WHERE state = $1 AND held = 0",
    )
    .bind(At::Done.name())
    .fetch_one(reader.on().connection)
    .await
    .unwrap();
    assert_eq!(done.get::<i64, _>("devices"), 10_000);
    let again = tries.values().filter(|tries| **tries == 2).count();
    println!(
        "{DEVICES} devices, {again} of them twice, in {:.1} s and {:.1} s of CPU; {transactions} transactions, the longest {:.0} ms",
        elapsed.as_secs_f64(),
        (cpu() - used).as_secs_f64(),
        longest.as_secs_f64() * 1e3
    );
}
