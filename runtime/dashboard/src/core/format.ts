// Numbers, times and sizes as words. Pure.

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** `812 ms`, `4.21 s`, `3 m 05 s`, `2 h 14 m`, `5 d 3 h`; below a millisecond, `240 µs`. */
export function duration(ms: number): string {
  if (ms < 0) return '0 ms';
  if (ms < 1) return ms === 0 ? '0 ms' : `${Math.max(1, Math.round(ms * 1_000))} µs`;
  if (ms < 10) return `${trim(ms.toFixed(1))} ms`;
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${(ms / SECOND).toFixed(2)} s`;
  if (ms < MINUTE) return `${(ms / SECOND).toFixed(1)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} m ${pad(Math.floor((ms % MINUTE) / SECOND))} s`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h ${pad(Math.floor((ms % HOUR) / MINUTE))} m`;
  return `${Math.floor(ms / DAY)} d ${Math.floor((ms % DAY) / HOUR)} h`;
}

function trim(text: string): string {
  return text.replace(/\.0+$/, '');
}

function pad(count: number): string {
  return String(count).padStart(2, '0');
}

/** `just now`, `42 s ago`, `in 3 h`. */
export function relative(at: number, from: number): string {
  const away = Math.abs(at - from);
  if (away < 2 * SECOND) return 'just now';
  const [count, unit] =
    away < MINUTE
      ? [Math.round(away / SECOND), 's']
      : away < HOUR
        ? [Math.round(away / MINUTE), 'min']
        : away < DAY
          ? [Math.round(away / HOUR), 'h']
          : [Math.round(away / DAY), 'd'];
  return at <= from ? `${count} ${unit} ago` : `in ${count} ${unit}`;
}

const dateTime = new Intl.DateTimeFormat(undefined, {
  year: 'numeric',
  month: 'short',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  timeZoneName: 'short',
});
const shortTime = new Intl.DateTimeFormat('en-US', {
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  hourCycle: 'h23',
});
const clock = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
});

/** Date and time where the reader is. */
export function moment(at: number): string {
  return dateTime.format(at);
}

/** `Nov 22, 14:03` where the reader is. */
export function day(at: number): string {
  return shortTime.format(at);
}

/** `14:03:07.123` where the reader is. */
export function timeOfDay(at: number): string {
  return clock.format(at);
}

/** `1,234` */
export function count(number: number): string {
  return number.toLocaleString('en-US');
}

/** `1 run`, `3 runs` */
export function counted(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** `64 B`, `1.4 KiB`, `12 MiB` */
export function bytes(size: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let shown = size;
  let unit = 0;
  while (shown >= 1_024 && unit < units.length - 1) {
    shown /= 1_024;
    unit += 1;
  }
  return `${unit === 0 || shown >= 100 ? Math.round(shown) : trim(shown.toFixed(1))} ${units[unit]}`;
}

/** `12.3 %` of a share between 0 and 1. */
export function percent(share: number): string {
  return `${trim((share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0))} %`;
}

/** `1.8×`, how many times as much. */
export function factor(then: number, now: number): string | undefined {
  if (then <= 0) return undefined;
  const times = now / then;
  if (times > 0 && times < 0.01) return '< 0.01×';
  return `${times >= 10 ? Math.round(times) : trim(times.toFixed(2))}×`;
}

/** The last characters of an id, enough to tell runs of one page from each other. */
export function shortId(id: string): string {
  const cut = id.indexOf('_');
  return cut < 0 || id.length - cut < 14 ? id : `${id.slice(0, cut + 1)}…${id.slice(-8)}`;
}
