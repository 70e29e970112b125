/** A plot with logarithmic axes as SVG, readable on light and dark pages. */

export interface Line {
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface LogPlot {
  readonly title: string;
  /** Names of the axes. */
  readonly x: string;
  readonly y: string;
  readonly lines: readonly Line[];
}

const WIDTH = 720;
const HEIGHT = 400;
const MARGIN = { top: 48, right: 24, bottom: 56, left: 64 } as const;
const COLOURS = ["#1f77b4", "#d9730d", "#2a9d4a"];

export function logPlot({ title, x, y, lines }: LogPlot): string {
  const points = lines.flatMap((line) => line.points);
  const horizontal = axis(
    points.map(([value]) => value),
    MARGIN.left,
    WIDTH - MARGIN.right,
  );
  const vertical = axis(
    points.map(([, value]) => value),
    HEIGHT - MARGIN.bottom,
    MARGIN.top,
  );
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#777">`,
    `<title>${title}</title>`,
    `<text x="${MARGIN.left}" y="24" font-size="14">${title}</text>`,
    `<text x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - 12}" text-anchor="middle">${x}</text>`,
    `<text transform="translate(16 ${HEIGHT / 2}) rotate(-90)" text-anchor="middle">${y}</text>`,
  ];
  for (const tick of horizontal.ticks) {
    const at = horizontal.at(tick);
    parts.push(
      `<line x1="${at}" x2="${at}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}" stroke="#8884"/>`,
      `<text x="${at}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle">${tick.toLocaleString("en")}</text>`,
    );
  }
  for (const tick of vertical.ticks) {
    const at = vertical.at(tick);
    parts.push(
      `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${at}" y2="${at}" stroke="#8884"/>`,
      `<text x="${MARGIN.left - 8}" y="${at + 4}" text-anchor="end">${tick.toLocaleString("en")}</text>`,
    );
  }
  for (const [i, line] of lines.entries()) {
    const colour = COLOURS[i % COLOURS.length];
    const spots = line.points.map(([a, b]) => [horizontal.at(a), vertical.at(b)] as const);
    parts.push(
      `<polyline points="${spots.map((spot) => spot.join(",")).join(" ")}" fill="none" stroke="${colour}" stroke-width="2"/>`,
    );
    for (const [at, [, value]] of line.points.entries()) {
      const [cx, cy] = spots[at]!;
      parts.push(
        `<circle cx="${cx}" cy="${cy}" r="3.5" fill="${colour}"/>`,
        `<text x="${cx}" y="${cy - 9}" text-anchor="middle" fill="${colour}">${value}</text>`,
      );
    }
    parts.push(
      `<text x="${MARGIN.left + 12}" y="${MARGIN.top + 18 + i * 18}" fill="${colour}">● ${line.label}</text>`,
    );
  }
  return `${parts.join("\n")}\n</svg>\n`;
}

interface Axis {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** Ticks at 1, 2 and 5 times powers of ten, one beyond the values at each end. */
function axis(values: readonly number[], from: number, to: number): Axis {
  const low = tickBelow(Math.min(...values));
  const high = tickAbove(Math.max(...values));
  const ticks: number[] = [];
  for (let tick = low; tick <= high; tick = tickAbove(tick)) ticks.push(tick);
  const span = Math.log(high / low) || 1;
  return {
    ticks,
    at: (value) => Math.round((from + ((to - from) * Math.log(value / low)) / span) * 10) / 10,
  };
}

const STEPS = [1, 2, 5, 10];

function tickBelow(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return (STEPS.findLast((step) => step * power <= value) ?? 1) * power;
}

/** The next tick that is larger than the value. */
function tickAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value * 1.000001));
  return (STEPS.find((step) => step * power > value * 1.000001) ?? 10) * power;
}
