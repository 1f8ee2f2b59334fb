# Sourced (it is not executable, and must not be) by the entry point of the MySQL image when the data
# directory is new: makes the shop, the generator of sales and the agent's user.

hydrant_load() {
    # The delimiter is one that no file has: each is sent whole, procedures and all.
    docker_process_sql --delimiter='$$' --default-character-set=utf8mb4 <"/sql/$1"
}

hydrant_load sales.sql
hydrant_load sales_generator.sql
docker_process_sql --execute="CREATE USER hydrant@'%' IDENTIFIED BY '$HYDRANT_PASSWORD'"
hydrant_load grants.sql
