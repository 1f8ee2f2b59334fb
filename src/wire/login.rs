//! Handshake and authentication, with the two plugins that servers use for passwords.

use mysql_async::{DriverError, Error};
use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::MySerialize;

use super::{Transport, Wire, io_error, refusal, tls, unexpected};
use crate::config::{Secret, Source, Tls};

/// The largest packet of the protocol: what a server may send.
const MAX_PACKET: u32 = 1 << 30;
/// utf8mb4_general_ci, which all servers have.
const COLLATION: u8 = 45;

const CAPABILITIES: CapabilityFlags = CapabilityFlags::CLIENT_PROTOCOL_41
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_LONG_PASSWORD)
    .union(CapabilityFlags::CLIENT_TRANSACTIONS)
    .union(CapabilityFlags::CLIENT_DEPRECATE_EOF)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH);

pub(super) async fn login(wire: &mut Wire, source: &Source) -> Result<(), Error> {
    let packet = wire.packet().await?;
    let handshake = match packet.first() {
        Some(10) => ParseBuf(packet).parse::<HandshakePacket<'_>>(()),
        _ => return Err(refusal(packet)),
    };
    let handshake = handshake.map_err(io_error)?.into_owned();
    let mut capabilities = CAPABILITIES & handshake.capabilities();
    wire.has_no_eof = capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF);
    if source.tls != Tls::Off {
        if !handshake
            .capabilities()
            .contains(CapabilityFlags::CLIENT_SSL)
        {
            return Err(DriverError::NoClientSslFlagFromServer.into());
        }
        capabilities |= CapabilityFlags::CLIENT_SSL;
        switch_to_tls(wire, source, capabilities).await?;
    }
    let password = source.password.as_ref().map(Secret::expose);
    let nonce = handshake.nonce();
    let plugin = handshake.auth_plugin().as_ref().and_then(known);
    let plugin = plugin.unwrap_or(AuthPlugin::MysqlNativePassword);
    let proof = plugin.gen_data(password, &nonce);
    let response = HandshakeResponse::new(
        proof.as_deref(),
        handshake.server_version_parsed().unwrap_or((8, 0, 0)),
        Some(source.user.as_bytes()),
        None::<&[u8]>,
        Some(plugin.clone()),
        capabilities,
        None,
        MAX_PACKET,
    );
    send(wire, &response).await?;
    authenticate(wire, plugin, nonce, password).await
}

async fn switch_to_tls(
    wire: &mut Wire,
    source: &Source,
    capabilities: CapabilityFlags,
) -> Result<(), Error> {
    let request = SslRequest::new(capabilities, MAX_PACKET, COLLATION);
    send(wire, &request).await?;
    // What a stranger may have slipped in before the encryption is not believed.
    if !wire.frames().is_empty() {
        return Err(unexpected());
    }
    let (authorities, anyone) = match &source.tls {
        Tls::Verify(authorities) => (authorities.as_deref(), false),
        Tls::Encrypt => (None, true),
        Tls::Off => return Ok(()),
    };
    let socket = std::mem::replace(&mut wire.transport, Transport::Closed);
    let Transport::Plain(socket) = socket else {
        return Err(unexpected());
    };
    let host = source.host.trim_matches(['[', ']']);
    let stream = tls::encrypt(socket, host, authorities, anyone).await;
    wire.transport = Transport::Tls(Box::new(stream.map_err(io_error)?));
    Ok(())
}

/// Proves who is there until the server says OK.
async fn authenticate(
    wire: &mut Wire,
    mut plugin: AuthPlugin<'static>,
    mut nonce: Vec<u8>,
    password: Option<&str>,
) -> Result<(), Error> {
    const SWITCH: u8 = 0xfe;
    const MORE: u8 = 1;
    const KNOWN_ALREADY: u8 = 3;
    const WHOLE_PASSWORD: u8 = 4;
    let mut switched = false;
    loop {
        match wire.packet().await? {
            [0, ..] => return Ok(()),
            packet @ [SWITCH, _, ..] if !switched => {
                let request = ParseBuf(packet).parse::<AuthSwitchRequest<'_>>(());
                let request = request.map_err(io_error)?;
                nonce = request.plugin_data().to_vec();
                let wanted = request.auth_plugin();
                plugin = known(&wanted).ok_or_else(|| {
                    let name = String::from_utf8_lossy(wanted.as_bytes()).into_owned();
                    DriverError::UnknownAuthPlugin { name }
                })?;
                switched = true;
                let proof = plugin.gen_data(password, &nonce);
                wire.send(proof.as_deref().unwrap_or_default()).await?;
            }
            [MORE, KNOWN_ALREADY] => {}
            [MORE, WHOLE_PASSWORD] if plugin == AuthPlugin::CachingSha2Password => {
                send_password(wire, &nonce, password.unwrap_or_default()).await?;
            }
            packet => return Err(refusal(packet)),
        }
    }
}

/// Within TLS the password itself; else encrypted with the key that the server sends.
async fn send_password(wire: &mut Wire, nonce: &[u8], password: &str) -> Result<(), Error> {
    const PUBLIC_KEY: u8 = 2;
    let mut secret = password.as_bytes().to_vec();
    secret.push(0);
    if matches!(wire.transport, Transport::Tls(_)) {
        return wire.send(&secret).await;
    }
    wire.send(&[PUBLIC_KEY]).await?;
    let key = match wire.packet().await? {
        [1, key @ ..] => key.to_vec(),
        packet => return Err(refusal(packet)),
    };
    for (byte, mask) in secret.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    wire.send(&crypto::encrypt(&secret, &key)).await
}

/// The plugins that are spoken here.
fn known(plugin: &AuthPlugin<'_>) -> Option<AuthPlugin<'static>> {
    match plugin {
        AuthPlugin::MysqlNativePassword => Some(AuthPlugin::MysqlNativePassword),
        AuthPlugin::CachingSha2Password => Some(AuthPlugin::CachingSha2Password),
        _ => None,
    }
}

async fn send(wire: &mut Wire, packet: &impl MySerialize) -> Result<(), Error> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    wire.send(&bytes).await
}
