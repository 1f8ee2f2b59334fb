//! From an INSERT to a line, against real servers.

use anyhow::{Result, ensure};

use crate::agent::{Workplace, gunzip_all};
use crate::sales::{SALES, config, sales_table};
use crate::support::servers::{Kind, Server};

const INSERT: &str = "SET time_zone = '+00:00'; INSERT INTO shop.Sales (ItemID, Category, Price, \
    Quantity, OrderDate, DestinationState, ShippingType, Referral) VALUES";

fn sales_lines(kind: Kind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    server.sql(SALES)?;
    server.sql(&format!(
        "{INSERT} (41, 'Garden', 12, 3, '2016-03-04 00:00:00', 'WA', 'Free', 'Repeat Customer'), \
         (7, 'Pots, \"large\"', 0.5, 1, '2016-12-31 23:59:59', NULL, '', 'two\nlines')"
    ))?;
    let workplace = Workplace::new(&config(&server, sales_table(), "type = \"stdout\""))?;
    let lines = workplace.drain()?;
    assert_eq!(
        lines,
        "41,Garden,12.00,3,2016-03-04 00:00:00,WA,Free,Repeat Customer\n\
         7,\"Pots, \"\"large\"\"\",0.50,1,2016-12-31 23:59:59,,\"\",\"two\nlines\"\n"
    );
    // Everything is behind the checkpoint now.
    assert_eq!(workplace.drain()?, "");
    server.sql(&format!(
        "{INSERT} (1, 'Office', 2, 3, NULL, 'OR', '2-Day', 'Other')"
    ))?;
    assert_eq!(workplace.drain()?, "1,Office,2.00,3,,OR,2-Day,Other\n");
    Ok(())
}

#[test]
fn mysql_sales_are_the_blogs_lines() -> Result<()> {
    sales_lines(Kind::Mysql)
}

#[test]
fn mariadb_sales_are_the_blogs_lines() -> Result<()> {
    sales_lines(Kind::Mariadb)
}

#[test]
fn the_dir_sink_writes_objects_by_table_and_hour() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    server.sql(&format!(
        "{INSERT} (1, 'Office', 2, 3, NULL, 'OR', '2-Day', 'Other')"
    ))?;
    let table = "name = \"shop.Sales\"\ncolumns = [\"ItemID\"]\n\
                 metadata = [\"position\", \"ordinal\"]";
    let workplace = Workplace::new("")?;
    let folder = workplace.path("data");
    workplace.configure(&config(
        &server,
        table,
        &format!("path = \"{}\"", folder.display()),
    ))?;
    workplace.drain()?;
    let text = gunzip_all(&folder.join("shop.Sales"))?;
    let fields: Vec<&str> = text.trim_end().split(',').collect();
    ensure!(
        fields.len() == 3 && fields[0] == "1" && fields[2] == "0",
        "{text}"
    );
    let uuid = server.sql("SELECT @@server_uuid")?;
    ensure!(fields[1].starts_with(uuid.trim()), "{text}");
    Ok(())
}
