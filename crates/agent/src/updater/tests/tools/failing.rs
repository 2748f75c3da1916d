//! A command of the update system does what it is told, and then says that it failed.

use super::*;

/// As the daemon has it: what failed is looked at again, and what fails again is refused.
fn insist(machine: &Machine, wanted: &Update, what: &str) {
    for _ in 0..30 {
        match agent(machine, wanted) {
            Ok(Next::Nothing) => return,
            Ok(Next::Down) => machine.restart(),
            Err(error) => assert!(!machine.disk.is_cut(), "{what}: {error}"),
            other => panic!("{what}: {other:?}"),
        }
        check_power(machine, what);
    }
    panic!("{what}: the update does not settle");
}

#[test]
fn each_command_of_each_update_system_acts_and_then_fails() {
    for kind in ALL {
        let (mut failed, mut stayed) = (0, 0);
        for at in 0.. {
            let before = failed;
            for cut in [false, true] {
                let what = format!("{kind:?}, command {at}, power cut: {cut}");
                let machine = Machine::new(kind);
                let [one, _, _, better] = updates_of(kind) else {
                    panic!("four updates");
                };
                machine.failing.set(Some(at));
                let first = agent(&machine, one);
                if machine.failing.get().is_none() {
                    failed += 1;
                    // And the power goes before anything else is done.
                    if cut {
                        machine.boot(1);
                        check_power(&machine, &what);
                    }
                } else {
                    machine.failing.set(None);
                }
                if matches!(first, Ok(Next::Down)) && !cut {
                    machine.restart();
                }
                insist(&machine, one, &what);
                check(&machine, &what);
                let digest = Some(one.release.digest());
                stayed += usize::from(machine.open().unwrap().record().running == digest);
                // Whatever became of it, the next one is installed.
                insist(&machine, better, &what);
                check(&machine, &what);
                let digest = Some(better.release.digest());
                assert_eq!(machine.open().unwrap().record().running, digest, "{what}");
            }
            if failed == before {
                break;
            }
        }
        println!("{kind:?}: {failed} commands failed, {stayed} updates stayed");
        assert!(failed > 2 && stayed > 2, "{kind:?}: {failed}, {stayed}");
    }
}
