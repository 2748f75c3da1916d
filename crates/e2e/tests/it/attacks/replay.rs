//! T3: what was recorded is sent again, by somebody who has no key.

use kusabi_core::protocol::frame::{AnswerFrame, RequestFrame};

use super::standing;
use crate::{
    fleet::{CONNECTED, Device, POLLED, REPORTED, Site},
    middle::{Exchange, Middle},
    wire::Message,
};

/// Sends every recorded frame again; how many hellos and messages there were.
fn replay(site: &Site, recorded: &[Exchange]) -> (usize, usize) {
    let (mut hellos, mut messages) = (0, 0);
    for exchange in recorded {
        let request = &exchange.request;
        if request.path() != "/device/v1" {
            continue;
        }
        let answer = request.ask(site.devices).unwrap();
        assert_eq!(answer.path(), "200");
        let frame = AnswerFrame::decode(&answer.body).unwrap();
        match RequestFrame::decode(&request.body).unwrap() {
            // Whoever has no key can do nothing with a welcome.
            RequestFrame::Hello { .. } => {
                hellos += 1;
                assert!(
                    matches!(frame, AnswerFrame::Welcome(_) | AnswerFrame::Problem { .. }),
                    "{frame:?}"
                );
            }
            // The answer that was stored, which he has already, or none.
            RequestFrame::Message {
                session,
                counter,
                sealed,
            } => {
                messages += 1;
                assert!(
                    matches!(frame, AnswerFrame::Problem { .. })
                        || answer.body == exchange.answer.body,
                    "{frame:?}"
                );
                // As the session's next message it is none.
                let moved = RequestFrame::Message {
                    session,
                    counter: counter + 1,
                    sealed,
                };
                let mut bytes = vec![0; request.body.len() + 8];
                let len = moved.encode(&mut bytes).unwrap();
                let answer = Message::frame(&bytes[..len]).ask(site.devices).unwrap();
                let frame = AnswerFrame::decode(&answer.body).unwrap();
                assert!(matches!(frame, AnswerFrame::Problem { .. }), "{frame:?}");
            }
            RequestFrame::Seek { .. } => {}
        }
    }
    (hellos, messages)
}

#[test]
fn what_was_recorded_has_no_effect_when_it_comes_again() {
    let _with_others = crate::fleet::with_others();
    let middle = Middle::new();
    let mut site = Site::found_behind(&middle.url);
    middle.lead_to(site.devices);
    site.provision(&["CAM-0001"], "");
    let mut device = Device::build(&site, "CAM-0001");
    device.activate();
    site.answered(site.order("report CAM-0001"));
    let before = standing(&site, "CAM-0001");
    assert_eq!(before["alarms"], serde_json::json!([]));

    // While its owner is in session: that goes on.
    let recorded = middle.recorded();
    let mark = device.mark();
    let (hellos, messages) = replay(&site, &recorded);
    assert!(
        hellos >= 2 && messages >= 4,
        "{hellos} hellos, {messages} messages"
    );
    device.poll();
    device.hear(mark, POLLED);
    assert_eq!(standing(&site, "CAM-0001"), before);
    let begun = device.said(mark);
    assert!(
        !begun.iter().any(|line| line.starts_with(CONNECTED)),
        "the owner had to begin again: {begun:#?}"
    );

    // While it is off: an order that waits for it goes on waiting.
    device.kill();
    let order = site.order("report CAM-0001");
    replay(&site, &middle.recorded());
    assert_eq!(site.waiting(order), 1);
    assert_eq!(standing(&site, "CAM-0001"), before);

    // After the server's next start, which knows no session.
    site.up();
    replay(&site, &middle.recorded());
    assert_eq!(site.waiting(order), 1);
    let mark = device.mark();
    device.start();
    device.hear(mark, REPORTED);
    site.answered(order);
    assert_eq!(standing(&site, "CAM-0001"), before);
}
