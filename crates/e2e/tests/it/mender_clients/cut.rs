//! A line between devices and their server that breaks.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

#[derive(Default)]
struct Plan {
    server: Option<SocketAddr>,
    /// Connections that are still to be broken, and after how many bytes from the server.
    cuts: usize,
    after: usize,
    /// What came from the server over each connection.
    carried: Vec<usize>,
}

/// It carries bytes, whatever they say, and breaks off in the middle of what is long.
pub(super) struct Line {
    pub(super) address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

impl Line {
    /// One that leads nowhere yet, and breaks so many connections after so many bytes each.
    pub(super) fn new(cuts: usize, after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan {
            cuts,
            after,
            ..Plan::default()
        }));
        let known = plan.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let plan = known.clone();
                // Whoever leaves early is not the test's subject.
                std::thread::spawn(move || carry(&stream, &plan));
            }
        });
        Self { address, plan }
    }

    /// From now on this server is at its other end.
    pub(super) fn lead_to(&self, server: SocketAddr) {
        self.plan.lock().unwrap().server = Some(server);
    }

    /// How many connections are still to be broken.
    pub(super) fn cuts_left(&self) -> usize {
        self.plan.lock().unwrap().cuts
    }

    /// What came over the connections that more than `least` bytes came over.
    pub(super) fn carried(&self, least: usize) -> Vec<usize> {
        let plan = self.plan.lock().unwrap();
        let carried = plan.carried.iter().copied();
        carried.filter(|bytes| *bytes > least).collect()
    }
}

fn carry(device: &TcpStream, plan: &Mutex<Plan>) -> Option<()> {
    let server = TcpStream::connect(plan.lock().unwrap().server?).ok()?;
    let number = {
        let mut plan = plan.lock().unwrap();
        plan.carried.push(0);
        plan.carried.len() - 1
    };
    let (mut up, mut there) = (device.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut up, &mut there);
        let _ = there.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; 16 * 1024];
    let (mut from, mut to) = (&server, device);
    while let Some(count) = from.read(&mut buffer).ok().filter(|count| *count > 0) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        let mut plan = plan.lock().unwrap();
        plan.carried[number] += count;
        if plan.cuts > 0 && plan.carried[number] >= plan.after {
            plan.cuts -= 1;
            break;
        }
    }
    // Both ends see it end, in the middle of a record.
    let _ = device.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    Some(())
}
