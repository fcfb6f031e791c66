//! Connects to the address in the payload, so that the component imports `wasi:sockets`.

use std::net::TcpStream;

use dacapo::prelude::*;

fn sockets(_: &Context, address: String) -> Result<String> {
    Ok(TcpStream::connect(address)?.peer_addr()?.to_string())
}

dacapo::tasks![task("sockets", sockets)];
