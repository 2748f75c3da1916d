//! Organisations on machines of their own, as far as one machine can be several: each node in a network namespace of its own,
//! clients in one more, and lines between them that a test makes slow, lossy or cuts.

use std::{fs::File, net::Ipv4Addr, path::PathBuf, process::Command, sync::Arc, time::Duration};

use kusabi_core::id::{ChainId, OrgName};

use crate::{
    command::{Place, Ran},
    consortium::found_at,
    history::Nodes,
    lines::Lines,
    netns::Namespace,
    node::{Node, Starting},
    storm::Writer,
    volume::Volume,
};

/// A machine, and who runs it.
pub(crate) struct Machine {
    pub(crate) org: &'static str,
    space: Namespace,
    address: Ipv4Addr,
    /// What its commands are started through.
    through: Vec<String>,
    /// Where the organisation's directory lies.
    pub(crate) data: String,
    node: Option<Node>,
    volume: Option<Volume>,
}

/// The machines and the lines between them.
pub(crate) struct Apart {
    pub(crate) place: Place,
    pub(crate) chain: ChainId,
    pub(crate) machines: Vec<Machine>,
    /// Where the clients are; its lines are always whole.
    pub(crate) clients: Namespace,
    pub(crate) lines: Lines,
}

/// A network of the test range (RFC 2544) that no network routes; here it is in namespaces only.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 78, u8::try_from(number + 1).unwrap())
}

impl Machine {
    fn new(number: usize, org: &'static str) -> Self {
        let space = Namespace::new();
        Self {
            org,
            through: space.enter().map(str::to_owned).to_vec(),
            space,
            address: address(number),
            data: org.to_owned(),
            node: None,
            volume: None,
        }
    }

    /// Where clients reach its node.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:7040", self.address)
    }

    /// Where other nodes reach its node.
    pub(crate) fn peer(&self) -> String {
        format!("{}:7043", self.address)
    }
}

impl Apart {
    /// Founds a ledger of the first `founders` of these organisations. No node runs yet.
    pub(crate) fn found(orgs: &[&'static str], founders: usize, seed: u64) -> Self {
        let machines: Vec<_> = orgs
            .iter()
            .enumerate()
            .map(|(number, org)| Machine::new(number, org))
            .collect();
        let clients = Namespace::new();
        let mut ends: Vec<_> = machines
            .iter()
            .map(|machine| (machine.address, machine.space.line(machine.address)))
            .collect();
        let here = address(orgs.len());
        ends.push((here, clients.line(here)));
        let founding: Vec<_> = machines
            .iter()
            .take(founders)
            .map(|machine| (machine.org, machine.peer()))
            .collect();
        let (place, chain) = found_at(&founding);
        Self {
            place,
            chain,
            machines,
            clients,
            lines: Lines::join(ends, seed),
        }
    }

    /// Moves an organisation's directory to a disk of its own, of so many MiB. Its node does not run.
    pub(crate) fn move_to_volume(&mut self, number: usize, size_mib: usize) {
        let machine = &mut self.machines[number];
        let data = format!("{}-disk", machine.org);
        let (home, folder) = (self.place.path(""), self.place.path(&data));
        std::fs::create_dir(&folder).unwrap();
        let from = self.place.path(&machine.data);
        let volume = Volume::new(&machine.space, &home, &folder, &from, size_mib);
        machine.through = volume.through();
        machine.volume = Some(volume);
        machine.data = data;
    }

    /// The disk of an organisation that has one of its own.
    pub(crate) fn volume(&self, number: usize) -> &Volume {
        self.machines[number].volume.as_ref().unwrap()
    }

    /// Has a disk be slow for an organisation's node from its next start on: whatever it has put on the disk takes so long.
    pub(crate) fn slow_down(&mut self, number: usize, each: Duration) {
        let calls = "fsync,fdatasync,sync_file_range";
        let strace = format!(
            "strace --daemonize --follow-forks --seccomp-bpf --quiet=all -o /dev/null -e trace={calls} -e inject={calls}:delay_exit={}",
            each.as_micros()
        );
        // As a grandchild, so that what is started is the node still.
        let words = strace.split(' ').map(str::to_owned);
        self.machines[number].through.extend(words);
    }

    /// Its disk is as fast as before from its next start on.
    pub(crate) fn speed_up(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        machine.through = machine.space.enter().map(str::to_owned).to_vec();
    }

    /// Starts a founder's node and does not wait.
    pub(crate) fn begin(&self, number: usize) -> Starting {
        self.begin_with(number, crate::kusabi())
    }

    /// The same with another copy of the program.
    pub(crate) fn begin_with(&self, number: usize, program: PathBuf) -> Starting {
        let machine = &self.machines[number];
        let line = format!(
            "node run --data {} --listen {}:7040 --json --genesis nordic.genesis",
            machine.data, machine.address
        );
        let command = self.place.command_of(program, &machine.through, &line);
        self.spawn(number, command)
    }

    /// Starts a node that waits until the others have appointed it, told by another one's node, and does not wait for that.
    pub(crate) fn join(&self, number: usize, from: usize) -> Starting {
        let machine = &self.machines[number];
        let line = format!(
            "node join --data {} --from {} --chain {} --listen {}:7040 --json",
            machine.data,
            self.machines[from].url(),
            self.chain,
            machine.address
        );
        self.begin_as(number, &line)
    }

    /// Starts a node with this command on its machine. What it logs is in `ORG.log`.
    pub(crate) fn begin_as(&self, number: usize, line: &str) -> Starting {
        let machine = &self.machines[number];
        let command = self.place.command_through(&machine.through, line);
        self.spawn(number, command)
    }

    fn spawn(&self, number: usize, mut command: Command) -> Starting {
        let machine = &self.machines[number];
        let log = self.place.path(format!("{}.log", machine.org));
        let log = File::options().create(true).append(true).open(log);
        command.stderr(log.unwrap());
        Node::spawn(command)
    }

    /// Starts these nodes, and waits until each is ready.
    pub(crate) fn start(&mut self, numbers: &[usize]) {
        let starting: Vec<_> = numbers.iter().map(|number| self.begin(*number)).collect();
        for (number, starting) in numbers.iter().zip(starting) {
            self.machines[*number].node = Some(starting.ready());
        }
    }

    /// A node that has become ready.
    pub(crate) fn runs(&mut self, number: usize, node: Node) {
        self.machines[number].node = Some(node);
    }

    /// `kill -9` of a node.
    pub(crate) fn kill(&mut self, number: usize) {
        self.node(number).kill();
    }

    /// Takes a node over, to see how it ends.
    pub(crate) fn node(&mut self, number: usize) -> Node {
        self.machines[number].node.take().unwrap()
    }

    /// Ends all nodes that run as a person would.
    pub(crate) fn stop(mut self) {
        for machine in &mut self.machines {
            if let Some(node) = machine.node.take() {
                node.stop();
            }
        }
    }

    /// Runs a command on an organisation's machine.
    pub(crate) fn at(&self, number: usize, line: &str) -> Ran {
        self.place.run_through(&self.machines[number].through, line)
    }

    /// Runs a command of an organisation where its people are: they reach every node.
    pub(crate) fn by(&self, number: usize, line: &str) -> Ran {
        let through = self.clients.enter().map(str::to_owned);
        let machine = &self.machines[number];
        let line = format!("{line} --profile {}/profile.toml", machine.data);
        self.place.run_through(&through, &line)
    }

    /// For clients of the first `count` nodes, who register keys of the first organisation.
    pub(crate) fn nodes(&self, count: usize) -> Nodes {
        let machines = &self.machines[..count];
        let first = &machines[0];
        Nodes {
            urls: machines.iter().map(Machine::url).collect(),
            chain: self.chain,
            org: OrgName::new(first.org).unwrap(),
            writer: Arc::new(Writer::read(
                &self.place,
                &format!("{}/keys/writer.key", first.data),
            )),
        }
    }

    /// What a node has logged so far.
    pub(crate) fn log(&self, number: usize) -> String {
        let log = self
            .place
            .path(format!("{}.log", self.machines[number].org));
        std::fs::read_to_string(log).unwrap()
    }
}

/// What each node logged last, when a test failed: a node's own log lies in a directory that is gone by then.
const LAST_LINES: usize = 12;

impl Drop for Apart {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for machine in &self.machines {
            let log = self.place.path(format!("{}.log", machine.org));
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("{} logged last:", machine.org);
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                eprintln!("  {line}");
            }
        }
    }
}
