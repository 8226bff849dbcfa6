//! One connection to one broker: a request, its answer, and a deadline over both.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes, VersionRange};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::broker::{BrokerError, BrokerErrorKind, Result};
use crate::kafka::wire::requests::Call;

/// A longer answer is not one of a broker: something else listens there.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const CLIENT_ID: &str = "tidemill";

/// What is being done, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    pub(super) during: &'static str,
    deadline: Instant,
}

impl Until {
    pub(super) fn within(during: &'static str, time: Duration) -> Self {
        Self { during, deadline: Instant::now() + time }
    }

    pub(super) fn left(&self) -> Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(self.passing("no answer within the deadline")),
            left => Ok(left),
        }
    }

    pub(super) fn passing(&self, message: impl Into<String>) -> BrokerError {
        BrokerError::new(BrokerErrorKind::Retriable, self.during, message)
    }

    pub(super) fn fatal(&self, message: impl Into<String>) -> BrokerError {
        BrokerError::new(BrokerErrorKind::Fatal, self.during, message)
    }
}

/// A request whose answer is still to come.
pub(super) struct Sent<C> {
    correlation_id: i32,
    version: i16,
    request: PhantomData<fn() -> C>,
}

pub(super) struct Connection {
    stream: TcpStream,
    address: String,
    /// What the broker offers, by key.
    offered: BTreeMap<i16, VersionRange>,
    correlation_id: i32,
}

impl Connection {
    pub(super) fn open(address: &str, until: Until) -> Result<Self> {
        let mut last = until.passing(format!("{address} has no address"));
        for candidate in resolve(address, until)? {
            match TcpStream::connect_timeout(&candidate, until.left()?) {
                Ok(stream) => {
                    // A request is written whole, so there is nothing for the system to wait for.
                    stream.set_nodelay(true).map_err(|error| until.passing(format!("{address}: {error}")))?;
                    let offered = BTreeMap::new();
                    let mut opened = Self { stream, address: address.to_owned(), offered, correlation_id: 0 };
                    opened.learn_versions(until)?;
                    return Ok(opened);
                }
                Err(error) => last = until.passing(format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    fn learn_versions(&mut self, until: Until) -> Result<()> {
        let answer = self.exchange(&ApiVersionsRequest::default(), ApiVersionsRequest::VERSIONS.min, until)?;
        let range = |min, max| VersionRange { min, max };
        self.offered =
            answer.api_keys.iter().map(|key| (key.api_key, range(key.min_version, key.max_version))).collect();
        Ok(())
    }

    /// The level of a feature of the cluster, 0 where it has none.
    pub(super) fn feature_level(&mut self, name: &str, until: Until) -> Result<i16> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_ID))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer = self.call(&request, until)?;
        let found = answer.finalized_features.iter().find(|feature| feature.name.as_str() == name);
        Ok(found.map_or(0, |feature| feature.max_version_level))
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the other side has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        let peeked = rustix::net::recv(&self.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        match peeked {
            Ok((bytes, _)) => bytes == 0,
            Err(error) => error != Errno::AGAIN && error != Errno::INTR,
        }
    }

    /// The version in which both sides make this request, if there is one.
    pub(super) fn version<C: Call>(&self) -> Option<i16> {
        let both = self.offered.get(&(C::KEY as i16))?.intersect(&C::VERSIONS);
        (!both.is_empty()).then_some(both.max)
    }

    pub(super) fn call<C: Call>(&mut self, request: &C, until: Until) -> Result<C::Answer> {
        let sent = self.send(request, until)?;
        self.receive(sent, until)
    }

    /// Sends a request whose answer is [received](Connection::receive) later. Answers come in the order of the requests.
    pub(super) fn send<C: Call>(&mut self, request: &C, until: Until) -> Result<Sent<C>> {
        let Some(version) = self.version::<C>() else {
            let message = format!("{} offers no version of {:?} that is known here", self.address, C::KEY);
            return Err(BrokerError::new(BrokerErrorKind::Misconfigured, until.during, message));
        };
        self.send_as(request, version, until)
    }

    pub(super) fn exchange<C: Call>(&mut self, request: &C, version: i16, until: Until) -> Result<C::Answer> {
        let sent = self.send_as(request, version, until)?;
        self.receive(sent, until)
    }

    fn send_as<C: Call>(&mut self, request: &C, version: i16, until: Until) -> Result<Sent<C>> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(C::KEY as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
        let mut frame = vec![0; 4];
        let encoded = header
            .encode(&mut frame, C::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| error.to_string())
            .and_then(|()| i32::try_from(frame.len() - 4).map_err(|error| error.to_string()));
        let length = encoded.map_err(|error| until.fatal(format!("{:?} cannot be written: {error}", C::KEY)))?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.write(&frame, until)?;
        Ok(Sent { correlation_id: self.correlation_id, version, request: PhantomData })
    }

    pub(super) fn receive<C: Call>(&mut self, sent: Sent<C>, until: Until) -> Result<C::Answer> {
        let Sent { correlation_id, version, .. } = sent;
        // What the answer holds of records stays where it was read.
        let mut rest = self.read_frame(until)?;
        let unreadable = |error: String| until.fatal(format!("the answer to {:?} cannot be read: {error}", C::KEY));
        let header = ResponseHeader::decode(&mut rest, C::Answer::header_version(version))
            .map_err(|error| unreadable(error.to_string()))?;
        if header.correlation_id != correlation_id {
            return Err(unreadable("it belongs to another request".to_owned()));
        }
        C::Answer::decode(&mut rest, version).map_err(|error| unreadable(error.to_string()))
    }

    fn write(&mut self, frame: &[u8], until: Until) -> Result<()> {
        let mut rest = frame;
        while !rest.is_empty() {
            let step = self.stream.set_write_timeout(Some(until.left()?)).and_then(|()| self.stream.write(rest));
            rest = &rest[self.progress(step, until)?..];
        }
        Ok(())
    }

    fn read_frame(&mut self, until: Until) -> Result<Bytes> {
        let mut length = [0; 4];
        self.read(&mut length, until)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            return Err(until.fatal(format!("{} does not answer as a broker does", self.address)));
        }
        let mut answer = vec![0; length];
        self.read(&mut answer, until)?;
        Ok(answer.into())
    }

    fn read(&mut self, buffer: &mut [u8], until: Until) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let timeout = self.stream.set_read_timeout(Some(until.left()?));
            let step = timeout.and_then(|()| self.stream.read(&mut buffer[filled..]));
            filled += self.progress(step, until)?;
        }
        Ok(())
    }

    fn progress(&self, step: std::io::Result<usize>, until: Until) -> Result<usize> {
        match step {
            Ok(0) => Err(until.passing(format!("{} closed the connection", self.address))),
            Ok(bytes) => Ok(bytes),
            // The deadline itself is looked at before the next step.
            Err(error)
                if [ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) =>
            {
                Ok(0)
            }
            Err(error) => Err(until.passing(format!("{}: {error}", self.address))),
        }
    }
}

/// The resolver of the system has no deadline, so it is asked on a thread of its own.
fn resolve(address: &str, until: Until) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let (found, answer) = channel();
    let name = address.to_owned();
    std::thread::spawn(move || {
        // Whoever asked may have given up meanwhile.
        let _unwanted = found.send(name.to_socket_addrs().map(Iterator::collect));
    });
    match answer.recv_timeout(until.left()?) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(until.passing(format!("{address}: {error}"))),
        Err(_) => Err(until.passing(format!("{address}: the name is not resolved within the deadline"))),
    }
}
