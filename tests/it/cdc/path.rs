//! From an INSERT to a line, against real servers.

use anyhow::{Result, ensure};

use crate::setup::agent::{Workplace, config, eventually, files_below, gunzip_all};
use crate::setup::database::Schema;
use crate::setup::sales::{SALES, sales_table};
use testkit::servers::Server;

const FIRST: &str = "SET time_zone = '+00:00'; INSERT INTO Sales (ItemID, Category, Price, \
    Quantity, OrderDate, DestinationState, ShippingType, Referral) VALUES \
    (41, 'Garden', 12, 3, '2016-03-04 00:00:00', 'WA', 'Free', 'Repeat Customer'), \
    (7, 'Pots, \"large\"', 0.5, 1, '2016-12-31 23:59:59', NULL, '', 'two\nlines')";

const FIRST_LINES: &str = "41,Garden,12.00,3,2016-03-04 00:00:00,WA,Free,Repeat Customer\n\
     7,\"Pots, \"\"large\"\"\",0.50,1,2016-12-31 23:59:59,,\"\",\"two\nlines\"\n";

const SECOND: &str = "INSERT INTO Sales (ItemID, Category, Price, Quantity, OrderDate, \
    DestinationState, ShippingType, Referral) VALUES \
    (1, 'Office', 2, 3, NULL, 'OR', '2-Day', 'Other')";

const SECOND_LINES: &str = "1,Office,2.00,3,,OR,2-Day,Other\n";

/// On the server that `HYDRANT_MYSQL_URL` names, if it does: followed from its newest event on.
#[test]
fn mysql_sales_are_the_blogs_lines() -> Result<()> {
    let mut schema = Schema::create()?;
    schema.sql(&SALES.replace("shop", &schema.name))?;
    let table = sales_table().replace("shop", &schema.name);
    let workplace = Workplace::new(&format!(
        "[source]\nurl = \"{}\"\n[[table]]\n{table}\n[sink]\ntype = \"stdout\"\n",
        schema.url
    ))?;
    assert_eq!(
        workplace.drain()?,
        "",
        "a start at the newest event delivers nothing old"
    );
    schema.sql(FIRST)?;
    assert_eq!(workplace.drain()?, FIRST_LINES);
    assert_eq!(workplace.drain()?, "", "all of it is behind the checkpoint");
    schema.sql(SECOND)?;
    assert_eq!(workplace.drain()?, SECOND_LINES);
    Ok(())
}

#[test]
fn mariadb_sales_are_the_blogs_lines() -> Result<()> {
    let server = Server::mariadb(&[])?;
    server.sql(SALES)?;
    server.sql(&format!("USE shop; {FIRST}"))?;
    let workplace = Workplace::new(&config(&server, sales_table(), "type = \"stdout\""))?;
    assert_eq!(workplace.drain()?, FIRST_LINES);
    assert_eq!(workplace.drain()?, "", "all of it is behind the checkpoint");
    server.sql(&format!("USE shop; {SECOND}"))?;
    assert_eq!(workplace.drain()?, SECOND_LINES);
    Ok(())
}

#[test]
fn the_dir_sink_writes_objects_by_table_and_hour() -> Result<()> {
    let mut schema = Schema::create()?;
    schema.sql(&SALES.replace("shop", &schema.name))?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("data");
    workplace.configure(&format!(
        "[source]\nurl = \"{}\"\n[[table]]\nname = \"{}.Sales\"\ncolumns = [\"ItemID\"]\n\
         metadata = [\"operation\", \"commit_time\", \"position\", \"ordinal\"]\n\
         [sink]\npath = \"{}\"\n",
        schema.url,
        schema.name,
        folder.display()
    ))?;
    workplace.drain()?;
    schema.sql(FIRST)?;
    let uuid = schema.value("SELECT @@server_uuid")?;
    workplace.drain()?;
    let text = gunzip_all(&folder)?;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    ensure!(lines.len() == 2, "{text}");
    for (ordinal, (line, item)) in lines.iter().zip(["41", "7"]).enumerate() {
        let [first, operation, commit_time, position, last] = line[..] else {
            anyhow::bail!("{text}");
        };
        ensure!(
            first == item && operation == "I" && last == ordinal.to_string(),
            "{text}"
        );
        ensure!(position.starts_with(&uuid), "{text}");
        // The object's hour is that of the commit.
        let hour = format!("dt={}/hr={}", &commit_time[..10], &commit_time[11..13]);
        let objects = files_below(
            &folder.join(format!("{}.Sales/{hour}", schema.name)),
            ".csv.gz",
        )?;
        ensure!(objects.len() == 1, "{objects:?}");
    }
    Ok(())
}

#[test]
fn sigterm_and_sigint_deliver_what_was_read() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int)")?;
    let table = "name = \"shop.T\"";
    let workplace = Workplace::into_directory(&server, &[table], "flush_interval = \"1h\"")?;
    let folder = workplace.path("data");
    for (id, signal, delivered) in [(1, "TERM", "1\n"), (2, "INT", "1\n2\n")] {
        let mut agent = workplace.start()?;
        eventually("the agent follows", || {
            Ok(agent.log().contains("following").then_some(()))
        })?;
        server.sql(&format!("INSERT INTO shop.T VALUES ({id})"))?;
        // With an hour to wait, only the log tells that the row was read.
        eventually("the row is read", || {
            agent.signal("USR1")?;
            Ok(agent.log().contains("rows_waiting=1").then_some(()))
        })?;
        agent.signal(signal)?;
        ensure!(agent.wait()?.code() == Some(0), "{}", agent.log());
        assert_eq!(gunzip_all(&folder)?, delivered);
        std::fs::remove_file(workplace.path("agent.log"))?;
    }
    assert_eq!(workplace.drain()?, "");
    assert_eq!(gunzip_all(&folder)?, "1\n2\n", "nothing is delivered again");
    Ok(())
}
