// A fork of zongji, used as its README shows: inserts of shop.Sales as objects.
//
// Usage: node zongji.mjs PACKAGE count|markers PORT FILE:POSITION ROWS
//
// It prints "first" when the first row arrives and "rows N" after so many. With "markers" it prints the column
// Referral of each row, and the time in microseconds at which the row was here.

const [name, mode, port, start, expected] = process.argv.slice(2);
const { default: ZongJi } = await import(name);
const [filename, position] = start.split(':');
const zongji = new ZongJi({ host: '127.0.0.1', port: Number(port), user: 'root', dateStrings: true, timezone: 'Z' });
let rows = 0;
zongji.on('error', (error) => {
  console.error(error);
  process.exit(1);
});
zongji.on('binlog', (event) => {
  if (event.getTypeName() !== 'WriteRows') return;
  if (rows === 0) console.log('first');
  rows += event.rows.length;
  if (mode === 'markers') {
    const now = Math.round((performance.timeOrigin + performance.now()) * 1000);
    for (const row of event.rows) console.log(row.Referral, now);
  }
  if (rows >= Number(expected)) {
    console.log('rows', rows);
    process.exit(0);
  }
});
zongji.start({
  serverId: 7003,
  filename,
  position: Number(position),
  includeEvents: ['tablemap', 'writerows'],
  includeSchema: { shop: ['Sales'] },
});
