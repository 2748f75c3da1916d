//! T6: a device that denies what it said, an operator that denies what he ordered.

use std::fs;

use kusabi_api::{
    HttpLedger, Ledger as _,
    admin::{InventoryReport, Receipt},
};
use kusabi_core::{
    device::{Provisioning, Trust},
    id::{Digest, Handle, Height, StateKey, parse_hex},
    inventory::{Asked, SignedInventory, StatementError, VerifiedStatement},
};

use crate::fleet::{Device, Site, eventually};

/// What the ledger proves of a key now.
fn proof(site: &Site, handle: &Handle) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ledger = HttpLedger::new(&site.ledger_url()).unwrap();
    let proof = runtime.block_on(ledger.lookup(StateKey::record(handle), Height::ZERO));
    proof.unwrap().to_vec()
}

/// Anyone checks it who has the organisation's public file and a proof of the key.
fn verify(
    trust: &Trust,
    statement: &[u8],
    handle: &Handle,
    proof: &[u8],
) -> Result<VerifiedStatement, StatementError> {
    let signed = SignedInventory::decode(statement)?;
    let claimed = signed.claimed();
    let asked = Asked {
        signer: *handle,
        handshake: *claimed.handshake(),
        nonce: claimed.nonce().copied(),
        not_before: claimed.height(),
    };
    let record = trust.verify(proof, &StateKey::record(handle)).unwrap();
    VerifiedStatement::check(&signed, &asked, &record)
}

#[test]
fn what_was_signed_cannot_be_denied() {
    let _with_others = crate::fleet::with_others();
    let site = Site::found();
    site.provision(&["CAM-0001"], "");
    site.operator("provision --public --out org.kusabi");
    let public = fs::read(site.place.path("org.kusabi")).unwrap();
    let trust = Provisioning::decode(&public).unwrap().trust;
    let mut device = Device::build(&site, "CAM-0001");
    device.activate();
    fs::write(device.folder.join("etc/camera.conf"), "mode = \"night\"\n").unwrap();
    let order = site.order("report CAM-0001");
    site.answered(order);

    // The device's statement, as the server keeps it.
    let id = site.shown("CAM-0001")["id"].as_str().unwrap().to_owned();
    let kept = site.get(&format!("/api/v1/devices/{id}/inventory"));
    assert_eq!(kept["verdict"], "differs");
    let report: InventoryReport = serde_json::from_value(kept["report"].clone()).unwrap();
    let statement: [u8; SignedInventory::LEN] = parse_hex(&report.statement).unwrap();
    let handle = Handle::new(report.signer.0);
    let then = proof(&site, &handle);
    let verified = verify(&trust, &statement, &handle, &then).unwrap();
    assert_eq!(verified.statement().digest().to_bytes(), report.digest.0);
    assert!(
        verified.statement().nonce().is_some(),
        "it answers an order"
    );
    for at in 0..statement.len() {
        let mut changed = statement;
        changed[at] ^= 1;
        assert!(
            verify(&trust, &changed, &handle, &then).is_err(),
            "byte {at} was changed"
        );
    }

    // The server's word for the order: an entry of its log, signed with its key.
    let entries = site.get("/api/v1/audit-log");
    let entries = entries["items"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["act"] == "order.create")
        .unwrap_or_else(|| panic!("{entries:#?}"));
    let receipt = site.get(&format!("/api/v1/audit-log/{}/receipt", entry["seq"]));
    let receipt: Receipt = serde_json::from_value(receipt).unwrap();
    fs::write(site.place.path("order.json"), &receipt.statement).unwrap();
    fs::write(site.place.path("order.kusabi"), &receipt.evidence).unwrap();
    let told = site.operator("verify order.json order.kusabi");
    assert_eq!(told["verdict"], "valid-now", "{told}");
    let forged = receipt.statement.replace("report", "repair");
    assert_ne!(forged, receipt.statement);
    fs::write(site.place.path("forged.json"), forged).unwrap();
    let told = site.asked("verify forged.json order.kusabi");
    assert_eq!(told["verdict"], "invalid", "{told}");

    // The device's word for what became of it, dated by the ledger.
    let fetch = format!("device receipt CAM-0001 {order} --anchor --out answer.json");
    eventually("the device's receipt", || {
        device.poll();
        (site.run(&fetch).code() == 0).then_some(())
    });
    let said: serde_json::Value =
        serde_json::from_slice(&fs::read(site.place.path("answer.json")).unwrap()).unwrap();
    assert_eq!(said["content"]["order"], order);
    assert_eq!(said["content"]["outcome"], "done");
    assert_eq!(site.operator("verify answer.json")["verdict"], "valid-now");
    let other = fs::read_to_string(site.place.path("answer.json")).unwrap();
    fs::write(
        site.place.path("other.json"),
        other.replace("done", "failed"),
    )
    .unwrap();
    let told = site.asked("verify other.json answer.json.kusabi");
    assert_eq!(told["verdict"], "invalid", "{told}");

    // The server's word that it heard the device, as the device keeps it.
    let kept = device.folder.join("state/receipts");
    let heard = eventually("the server's receipts", || {
        let heard = site.operator(&format!("device heard {} --out heard", kept.display()));
        let heard = heard["receipts"].as_array().unwrap().clone();
        let about = |what| heard.iter().any(|one| one["about"] == what);
        (about("report") && about("outcomes")).then_some(heard)
    });
    for one in &heard {
        let (file, about) = (one["statement"].as_str().unwrap(), &one["about"]);
        assert_eq!(
            site.operator(&format!("verify {file}"))["verdict"],
            "valid-now"
        );
        let said: serde_json::Value =
            serde_json::from_slice(&fs::read(site.place.path(file)).unwrap()).unwrap();
        assert_eq!(said["content"]["device"], handle.to_string());
        if about == "report" {
            let signed = one["inventory_statement"].as_str().unwrap();
            let signed = fs::read(site.place.path(signed)).unwrap();
            assert_eq!(
                said["content"]["statement"],
                Digest::of(&signed).to_string()
            );
        }
    }

    // The key is revoked: what it signed before stays what it was; with the newest proof alone nothing is dated.
    site.operator("device revoke CAM-0001 --reason compromised");
    let now = proof(&site, &handle);
    assert_eq!(
        verify(&trust, &statement, &handle, &now),
        Err(StatementError::SignerNotValid)
    );
    assert_eq!(verify(&trust, &statement, &handle, &then), Ok(verified));
    let told = site.asked("verify answer.json");
    assert_eq!(told["verdict"], "anchored-while-valid", "{told}");
}
