// Numbers as people read them, and ticks of an axis at round ones.

export function shown(value, unit = "") {
  if (value === null || value === undefined) return "not finite";
  if (unit === "bytes") return sized(value);
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e7 || size < 1e-4) return value.toExponential(2).replace("e+", "e");
  return Number.isInteger(value) || size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

function sized(value) {
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < names.length - 1) { value /= 1024; place += 1; }
  return `${Number(value.toPrecision(3))} ${names[place]}`;
}

export function short(value, unit = "") {
  if (unit === "bytes") return sized(value);
  const size = Math.abs(value);
  for (const [least, name] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= least) return `${Number((value / (name === "k" ? 1e3 : least)).toPrecision(3))}${name}`;
  }
  if (size !== 0 && size < 1e-3) return value.toExponential(0).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

export function lasting(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} days`;
}

export function ticks(low, high, most, unit = "") {
  if (unit === "bytes") {
    const size = 1024 ** Math.max(0, Math.floor(Math.log2(Math.max(1, high)) / 10));
    return ticks(low / size, high / size, most).map((n) => n * size);
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) found.push(n * step);
  return found;
}

export function powers(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  if (last < first) return [low, high];
  const stride = Math.max(1, Math.ceil((last - first + 1) / 4));
  const found = [];
  for (let n = first; n <= last; n += stride) found.push(10 ** n);
  return found;
}
