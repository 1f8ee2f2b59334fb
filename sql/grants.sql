-- What hydrant needs, and no more. Its user comes first, with a password of your own:
--   CREATE USER hydrant@'%' IDENTIFIED BY '...';

GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO hydrant@'%';
GRANT SELECT ON shop.Sales TO hydrant@'%';
