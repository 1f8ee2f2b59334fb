//! What an error of the database means: whether it may pass, with which exit code it ends a run, and
//! what to do about it.
//!
//! The numbers are those of MySQL's and MariaDB's lists of error messages. Those that are known to pass
//! are named here, as are those that will not; the others are uncertain, so that a running agent tries
//! again for a while (see [`super::retry`]).

use mysql_async::{DriverError, Error, ServerError};

use crate::error::root_cause;
use crate::{Exit, Failure};

pub(super) const ACCESS_DENIED: u16 = 1045;

pub(super) const REACH_SERVER: &str = "check source.url, that the server is up, and that nothing between \
                            here and there drops the connection";

/// The privileges that hydrant needs, as a statement to copy.
pub(super) const GRANTS: &str = "grant what hydrant needs: GRANT REPLICATION SLAVE, REPLICATION \
                                 CLIENT ON *.* TO its user, and GRANT SELECT on each table";

const OTHER_SERVER_ID: &str = "set source.server_id to a number that no other replica of the server has, \
                               or leave it out";

const NOT_THERE: &str = "the binlog after the checkpoint was purged or has changed: \
     load the missing rows from the table, then delete the checkpoint and choose source.start; and keep \
     binlogs longer (binlog_expire_logs_seconds, on RDS 'binlog retention hours')";

pub(super) fn is_server_error(error: &Error, code: u16) -> bool {
    matches!(error, Error::Server(server) if server.code == code)
}

pub(super) fn binlog_is_off() -> Failure {
    Failure::definite(
        Exit::Config,
        "the server's binlog is off",
        "start the server with log_bin, or on RDS and Aurora set binlog_format=ROW in the \
         parameter group and reboot",
    )
}

/// What to do about an error of the database at `place`.
pub(super) fn explain(place: &str, error: &Error) -> Failure {
    match error {
        Error::Server(server) => of_server(place, server),
        Error::Io(error) if is_tls(error) => Failure::uncertain(
            Exit::Config,
            format!("{place}: TLS: {}", root_cause(error)),
            "give the authority that signed the server's certificate in source.tls_ca (on RDS \
             and Aurora the region's bundle), and use the host name that the certificate is for; the certificates that \
             MySQL makes for itself have none: give the server one with its name, or set source.tls = \"encrypt\" if \
             nobody can come between",
        ),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => Failure::uncertain(
            Exit::Config,
            format!("{place}: the server does not offer TLS"),
            "enable TLS on the server, or set source.tls = \"off\" if the network is safe",
        ),
        // MySQL 9 answers an unknown user with the name of a plugin that nobody has.
        Error::Driver(DriverError::UnknownAuthPlugin { name }) => Failure::uncertain(
            Exit::Permission,
            format!("{place}: access denied: the server asks for the authentication plugin {name}"),
            "check the user in source.url (MySQL 9 answers unknown users so), source.password, and from \
             which hosts the user may connect; if the user has that plugin: ALTER USER ... IDENTIFIED \
             WITH caching_sha2_password (MariaDB: mysql_native_password)",
        ),
        Error::Io(_) | Error::Driver(_) => Failure::transient(
            Exit::Unavailable,
            format!("{place}: {}", root_cause(error)),
            REACH_SERVER,
        ),
        Error::Other(_) | Error::Url(_) => {
            Failure::uncertain(Exit::Unavailable, format!("{place}: {error}"), REACH_SERVER)
        }
    }
}

fn of_server(place: &str, server: &ServerError) -> Failure {
    let what = format!("{place}: {} (error {})", server.message, server.code);
    match server.code {
        // Not allowed to log in: by password, host, plugin or account state.
        ACCESS_DENIED | 1044 | 1130 | 1251 | 1275 | 1524 | 1698 | 1820 | 1862 | 3118 | 3955
        | 4150 | 4151 => Failure::uncertain(
            Exit::Permission,
            what,
            "check the user in source.url, source.password, and from which hosts the \
             user may connect",
        ),
        // Not allowed to ask.
        1227 | 1142 | 1143 | 1370 => Failure::uncertain(Exit::Permission, what, GRANTS),
        3159 => Failure::uncertain(
            Exit::Config,
            what,
            "remove source.tls = \"off\", because the server only takes encrypted connections",
        ),
        // ER_NO_BINARY_LOGGING.
        1381 => binlog_is_off(),
        1236 => of_dump(what, &server.message),
        // MariaDB's ER_SLAVE_SAME_ID.
        4052 => Failure::definite(Exit::Config, what, OTHER_SERVER_ID),
        // MariaDB's answers to a GTID that its binlog does not have, or not any more, or not yet.
        1945 | 1947 | 1951 | 1955 => Failure::uncertain(Exit::Data, what, NOT_THERE),
        1129 => Failure::transient(
            Exit::Unavailable,
            what,
            "let the server forget the failed connections: TRUNCATE performance_schema.host_cache, \
             or FLUSH HOSTS",
        ),
        // ER_NEW_ABORTING_CONNECTION.
        1184 => Failure::uncertain(
            Exit::Config,
            what,
            "look at the server's init_connect: it ends the connections of users for whom it fails",
        ),
        _ if may_pass(server) => Failure::transient(Exit::Unavailable, what, REACH_SERVER),
        _ => Failure::uncertain(
            Exit::Unavailable,
            what,
            "look the error up in the server's manual; `hydrant cdc` can be started \
             again at any time",
        ),
    }
}

/// Too many connections or too little memory, shutting down, starting, offline or killed.
fn may_pass(server: &ServerError) -> bool {
    let by_number = matches!(
        server.code,
        // Disk, memory, threads, name service.
        1021 | 1037 | 1038 | 1041 | 1042 | 1135
        // Limits of connections, of a user, of memory for connections.
        | 1040 | 1203 | 1226 | 4081 | 4082
        // Shutting down, offline, not ready, killed, idle or out of time.
        | 1053 | 1077..=1080 | 3032 | 3168 | 3169 | 1317 | 1927 | 1969 | 3024 | 4031
        // The network, as the server or a proxy sees it.
        | 1152 | 1156..=1161 | 1835 | 2002 | 2003 | 2005 | 2006 | 2013 | 9001 | 9002
        // Locks.
        | 1205 | 1213
    );
    // Class 08 is about the connection; Galera answers with it while a node is not part of its cluster.
    // Newer servers say in other numbers since when they are offline.
    by_number || server.state.starts_with("08") || server.message.contains("in offline mode")
}

/// Error 1236: the dump thread cannot send what was asked for, for many reasons.
fn of_dump(what: String, message: &str) -> Failure {
    let says = |part: &str| message.contains(part);
    if says("same server_uuid/server_id") || says("same server_id") {
        Failure::definite(Exit::Config, what, OTHER_SERVER_ID)
    } else if says("memory") {
        Failure::transient(Exit::Unavailable, what, REACH_SERVER)
    } else if says("max_allowed_packet") {
        Failure::uncertain(
            Exit::Data,
            what,
            "raise the server's max_allowed_packet (its limit is 1 GiB); if that is not it, the file \
             is damaged: load the rest of it from the table, and start at the next file",
        )
    } else if says("purged") || says("Could not find first log file") {
        Failure::definite(Exit::Data, what, NOT_THERE)
    } else {
        Failure::uncertain(Exit::Data, what, NOT_THERE)
    }
}

/// A refused certificate comes as invalid data of the connection below.
fn is_tls(error: &mysql_async::IoError) -> bool {
    match error {
        mysql_async::IoError::Tls(_) => true,
        mysql_async::IoError::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    fn refused(code: u16, state: &str, message: &str) -> Failure {
        let error = Error::Server(ServerError {
            code,
            message: message.to_owned(),
            state: state.to_owned(),
        });
        explain("db:3306", &error)
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn errors_are_told_apart_by_what_can_be_done() {
        use Fault::{Definite, Transient, Uncertain};
        for (code, state, message, fault, exit) in [
            (1040, "08004", "Too many connections", Transient, 69),
            (1226, "42000", "User 'h' has exceeded", Transient, 69),
            (1203, "42000", "User h already has more", Transient, 69),
            (3032, "HY000", "in offline mode", Transient, 69),
            (
                4999,
                "HY000",
                "currently in offline mode since 12:00",
                Transient,
                69,
            ),
            (
                1047,
                "08S01",
                "WSREP has not yet prepared node",
                Transient,
                69,
            ),
            (1053, "08S01", "Server shutdown in progress", Transient, 69),
            (1129, "HY000", "Host is blocked", Transient, 69),
            (1045, "28000", "Access denied", Uncertain, 77),
            (1227, "42000", "Access denied; you need", Uncertain, 77),
            (3159, "HY000", "Connections using insecure", Uncertain, 78),
            (
                1236,
                "HY000",
                "A replica with the same server_uuid/server_id as",
                Definite,
                78,
            ),
            (
                4052,
                "HY000",
                "A slave with the same server_id",
                Definite,
                78,
            ),
            (
                1236,
                "HY000",
                "memory allocation failed reading log event",
                Transient,
                69,
            ),
            (
                1236,
                "HY000",
                "Client requested source to start from position > file size",
                Uncertain,
                65,
            ),
            (
                1236,
                "HY000",
                "the source purged required binary logs",
                Definite,
                65,
            ),
            (
                1945,
                "HY000",
                "Connecting slave requested to start from GTID",
                Uncertain,
                65,
            ),
            (1146, "42S02", "nobody knows", Uncertain, 69),
        ] {
            let failure = refused(code, state, message);
            assert_eq!(
                (failure.fault, failure.exit as u8),
                (fault, exit),
                "{failure}"
            );
            assert!(failure.what.contains(message) && !failure.remedy.is_empty());
        }
    }

    #[test]
    fn two_readers_with_one_number_are_told_which_setting_to_change() {
        for code in [1236, 4052] {
            let failure = refused(code, "HY000", "a slave with the same server_id as this one");
            assert!(failure.remedy.contains("source.server_id"), "{failure:?}");
        }
    }
}
