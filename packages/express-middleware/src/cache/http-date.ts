/** A date as HTTP writes it, in milliseconds; undefined for anything else, which `Date.parse` would guess at (RFC 9110 section 5.6.7). */
export function parseHttpDate(text: string): number | undefined {
  for (const form of [IMF_FIXDATE, RFC850, ASCTIME]) {
    const groups = form.exec(text)?.groups;
    if (groups !== undefined) return timeOf(groups);
  }
  return undefined;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const MONTH = `(?<month>${MONTHS.join('|')})`;
const TIME = '(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)';
const IMF_FIXDATE = new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?<day>\\d\\d) ${MONTH} (?<year>\\d{4}) ${TIME} GMT$`);
const RFC850 = new RegExp(`^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?<day>\\d\\d)-${MONTH}-(?<year>\\d\\d) ${TIME} GMT$`);
const ASCTIME = new RegExp(`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ${MONTH} (?<day>[ \\d]\\d) ${TIME} (?<year>\\d{4})$`);

function timeOf(groups: Readonly<Record<string, string | undefined>>): number | undefined {
  const number = (name: string): number => Number(groups[name]);
  const month = MONTHS.indexOf(groups['month'] ?? '');
  const [day, hour, minute, second] = [number('day'), number('hour'), number('minute'), number('second')];
  if (hour > 23 || minute > 59 || second > 60) return undefined;
  const time = Date.UTC(yearOf(groups['year'] ?? ''), month, day, hour, minute, second);
  return new Date(time).getUTCMonth() === month ? time : undefined; // 31 Feb is no day
}

/** Two digits that would be more than 50 years ahead are in the past. */
function yearOf(digits: string): number {
  const year = Number(digits);
  if (digits.length === 4) return year;
  const thisYear = new Date().getUTCFullYear();
  const near = Math.floor(thisYear / 100) * 100 + year;
  return near > thisYear + 50 ? near - 100 : near;
}
