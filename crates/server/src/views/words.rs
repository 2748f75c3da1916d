//! `/words`: what the words on the pages mean.

use super::Frame;
use askama::Template;

#[derive(Debug, Template)]
#[template(path = "words.html")]
pub(crate) struct Words {
    pub(crate) f: Frame,
}

/// A word: the part of its address, itself, what it means.
#[derive(Debug)]
struct Word {
    id: &'static str,
    name: &'static str,
    text: &'static str,
}

const fn word(id: &'static str, name: &'static str, text: &'static str) -> Word {
    Word { id, name, text }
}

impl Words {
    fn sections(&self) -> [(&'static str, Vec<Word>); 4] {
        let t = self.f.t;
        [
            (
                t.words_identity,
                vec![
                    word("id", t.word_id, t.word_id_text),
                    word("handle", t.word_handle, t.word_handle_text),
                    word("factory-key", t.word_pre, t.word_pre_text),
                    word("device-key", t.word_act, t.word_act_text),
                    word("release-key", t.word_art, t.word_art_text),
                ],
            ),
            (
                t.words_ledger,
                vec![
                    word("ledger", t.word_ledger, t.word_ledger_text),
                    word("height", t.word_height, t.word_height_text),
                    word("quorum-signature", t.word_quorum, t.word_quorum_text),
                    word("checkpoint", t.word_checkpoint, t.word_checkpoint_text),
                    word("proof", t.word_proof, t.word_proof_text),
                    word("anchor", t.word_anchor, t.word_anchor_text),
                    word("floor", t.word_floor, t.word_floor_text),
                ],
            ),
            (
                t.words_people,
                vec![
                    word("writer", t.word_writer, t.word_writer_text),
                    word("officer", t.word_officer, t.word_officer_text),
                ],
            ),
            (
                t.words_fleet,
                vec![
                    word("order", t.word_order, t.word_order_text),
                    word("rollout", t.word_rollout, t.word_rollout_text),
                    word("inventory", t.word_inventory, t.word_inventory_text),
                    word("quarantine", t.word_quarantine, t.word_quarantine_text),
                ],
            ),
        ]
    }
}
