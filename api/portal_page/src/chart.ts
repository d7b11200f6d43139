/**
 * Usage as bars or lines, drawn by uPlot.
 *
 * All windows are drawn with the same width, although months and clock changes make them differ in length. Values are
 * doubles here; the texts beside the pointer are exact.
 */
import uPlot from 'uplot'

export interface Series {
  /** Identifies the series: two series may have the same name. */
  id: string
  name: string
  /** One per window; null: no value. */
  values: (number | null)[]
  /** The same values, written for people. */
  texts: (string | null)[]
}

export interface ChartContent {
  /** One per window, below the axis. */
  labels: string[]
  /** The day of each window, shown where it changes. Undefined if the labels contain the day. */
  days?: string[]
  /** Writes a window in full, beside the pointer. */
  title: (index: number) => string
  /**
   * A note ("so far") for each window that is counted in part, undefined for a whole one. Such a window is drawn
   * hatched or dashed.
   */
  parts?: (string | undefined)[]
  series: Series[]
  /** Bars are stacked, lines are not. */
  shape: 'bars' | 'lines'
  /** Writes a value in a short form, on the axis. */
  short: (value: number) => string
}

const PADDING = 8 // pixels, right of the last window
// The steps of an axis of whole numbers.
const WHOLE_STEPS = [...Array(16).keys()].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power))

/** Draw into an element. Call `update` of the returned object with new content, and `end` to remove the chart. */
export function draw(target: HTMLElement, content: ChartContent): { update(next: ChartContent): void; end(): void } {
  let shown = content
  let plot = build(target, () => shown)
  const resize = new ResizeObserver(() => plot.setSize({ width: target.clientWidth, height: heightOf(target) }))
  resize.observe(target)
  return {
    update(next) {
      const isSameOutline = outline(next) === outline(shown)
      shown = next
      if (isSameOutline) {
        // setData alone would not renew the texts of the axes if the scales stay the same.
        plot.batch(() => {
          plot.setData(dataOf(next))
          plot.redraw(false, true)
        })
      } else {
        plot.destroy()
        plot = build(target, () => shown)
      }
    },
    end() {
      resize.disconnect()
      plot.destroy()
    },
  }
}

/** Return, as a text, what two contents must have in common for the chart to be redrawn in place. */
function outline(content: ChartContent): string {
  const { shape, labels, days, series } = content
  return JSON.stringify([shape, labels.length, Boolean(days), series.map(({ id }) => id), isWhole(content), partial(content)])
}

/** Return the indexes of the windows that are counted in part. */
function partial({ parts = [] }: ChartContent): number[] {
  return [...parts.keys()].filter((index) => parts[index] !== undefined)
}

function isWhole({ series }: ChartContent): boolean {
  return series.every(({ values }) => values.every((value) => value === null || Number.isInteger(value)))
}

/** Return the value of 1 on the value axis: uPlot cannot place the axis texts for values with very many digits. */
function unitOf({ series }: ChartContent): number {
  const largest = series.reduce((most, { values }) => values.reduce<number>((max, value) => Math.max(max, Math.abs(value ?? 0)), most), 0)
  return largest === 0 || (largest >= 1e-5 && largest < 1e15) ? 1 : 10 ** Math.floor(Math.log10(largest))
}

function heightOf(target: HTMLElement): number {
  return target.clientHeight || 280
}

/**
 * Return uPlot's columns: window numbers, then the series.
 *
 * Stacked series are running sums, the highest first, so that each is painted over the one before. Lines have one
 * column without the windows that are counted in part; if there are such windows, each line has a second column with
 * only these and their neighbours, which is drawn dashed.
 */
function dataOf(content: ChartContent): uPlot.AlignedData {
  const { labels, series, shape } = content
  const unit = unitOf(content)
  const numbers = labels.map((_, index) => index)
  if (shape === 'lines') {
    const inPart = new Set(partial(content))
    const column = (isShown: (index: number) => boolean) => (one: Series) =>
      one.values.map((value, index) => (value === null || !isShown(index) ? null : value / unit))
    const whole = series.map(column((index) => !inPart.has(index)))
    const dashed = series.map(column((index) => [index - 1, index, index + 1].some((near) => inPart.has(near))))
    return [numbers, ...whole, ...(inPart.size > 0 ? dashed : [])]
  }
  const sums: number[][] = []
  const running = labels.map(() => 0)
  for (const one of series) {
    one.values.forEach((value, index) => (running[index] += (value ?? 0) / unit))
    sums.push([...running])
  }
  return [numbers, ...sums.reverse()]
}

function build(target: HTMLElement, content: () => ChartContent): uPlot {
  const { labels, days, shape } = content()
  const style = getComputedStyle(target)
  const color = (name: string): string => style.getPropertyValue(name).trim()
  const font = `12px ${style.fontFamily}`
  const line = { stroke: color('--_line'), width: 1 }
  const options: uPlot.Options = {
    width: target.clientWidth,
    height: heightOf(target),
    padding: [12, PADDING, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: shape === 'lines', size: 7 }, drag: { setScale: false, x: false, y: false } },
    scales: {
      x: { time: false, range: () => [-0.6, Math.max(labels.length, 1) - 0.4] },
      y: { range: (_, low, high) => rangeOf(low, high) },
    },
    axes: [
      {
        stroke: color('--_muted'),
        font,
        grid: { show: false },
        ticks: { show: false },
        gap: 8,
        size: days ? 48 : 30,
        splits: (plot) => ticks(content(), plot.bbox.width / devicePixelRatio),
        values: (_, splits) => axisTexts(content(), splits),
      },
      {
        stroke: color('--_muted'),
        font,
        grid: line,
        ticks: { show: false },
        border: { show: false },
        incrs: isWhole(content()) ? WHOLE_STEPS : undefined,
        size: (_, values) => 14 + 7 * Math.max(3, ...(values ?? []).map((value) => value.length)),
        values: (_, splits) => splits.map((value) => content().short(value * unitOf(content()))),
      },
    ],
    series: [
      {},
      ...(shape === 'bars' ? barsOf(content, color) : linesOf(content, color)),
    ],
    plugins: [tooltip(target, content)],
  }
  return new uPlot(options, dataOf(content()), target)
}

type Color = (name: string) => string

/** Return how uPlot draws stacked bars: the last series first, and windows that are counted in part hatched. */
function barsOf(content: () => ChartContent, color: Color): uPlot.Series[] {
  const { labels, series } = content()
  const many = labels.length > 120
  return series.map((_, index) => {
    const stroke = color(seriesColor(series.length - 1 - index))
    const fills = (): (CanvasPattern | string)[] => {
      const hatched = hatching(stroke, color('--_surface'))
      return labels.map((_label, index) => (content().parts?.[index] === undefined ? stroke : hatched))
    }
    const disp = partial(content()).length > 0 ? { fill: { unit: 3 as const, values: fills } } : undefined
    const paths = uPlot.paths.bars?.({ size: [many ? 1 : 0.72, 44], radius: many ? 0 : 0.12, disp } as uPlot.Series.BarsPathBuilderOpts)
    return { stroke, fill: stroke, width: 0, paths, points: { show: false } }
  })
}

/**
 * Return how uPlot draws the lines, then the dashed lines to the windows that are counted in part, which end in an
 * empty circle.
 */
function linesOf(content: () => ChartContent, color: Color): uPlot.Series[] {
  const { labels, series } = content()
  const inPart = partial(content())
  const isShown = (plot: uPlot, number: number): number[] => inPart.filter((index) => typeof plot.data[number][index] === 'number')
  const whole = series.map((_, index): uPlot.Series => {
    return { stroke: color(seriesColor(index)), width: 2, points: { show: labels.length < 60, size: 5, filter: isolatedPoints } }
  })
  const dashed = (line: uPlot.Series): uPlot.Series => {
    return { ...line, dash: [5, 4], points: { show: true, size: 7, fill: color('--_surface'), filter: isShown } }
  }
  return [...whole, ...(inPart.length > 0 ? whole.map(dashed) : [])]
}

function seriesColor(index: number): string {
  return `--_series-${(index % 8) + 1}`
}

/**
 * Return stripes of a colour on an opaque background. Stripes can be told from a full colour by readers who see no
 * colours.
 */
function hatching(color: string, background: string): CanvasPattern | string {
  const side = Math.round(7 * devicePixelRatio)
  const tile = document.createElement('canvas')
  tile.width = tile.height = side
  const brush = tile.getContext('2d')
  if (!brush) return color
  brush.fillStyle = background
  brush.fillRect(0, 0, side, side)
  brush.strokeStyle = color
  brush.lineWidth = side / 2.5
  for (const shift of [-side, 0, side]) {
    brush.moveTo(shift - 1, side + 1)
    brush.lineTo(shift + side + 1, -1)
  }
  brush.stroke()
  return brush.createPattern(tile, 'repeat') ?? color
}

/** Return the points to draw if not all are drawn: values without a neighbour, because no line shows them. */
function isolatedPoints(plot: uPlot, number: number, all: boolean): number[] | null {
  if (all) return null
  const values = plot.data[number]
  const hasValue = (index: number): boolean => values[index] !== null && values[index] !== undefined
  return [...values.keys()].filter((index) => hasValue(index) && !hasValue(index - 1) && !hasValue(index + 1))
}

function axisTexts({ labels, days }: ChartContent, windows: number[]): string[] {
  return windows.map((index, place) => {
    const changed = days?.[index] !== undefined && days[index] !== days[windows[place - 1]]
    return changed ? `${labels[index] ?? ''}\n${days[index]}` : (labels[index] ?? '')
  })
}

function rangeOf(low: number, high: number): uPlot.Range.MinMax {
  if (low === null || high === null) return [0, 1]
  const [bottom, top] = [Math.min(0, low), Math.max(0, high)]
  const room = (top - bottom || 1) * 0.06
  return [bottom < 0 ? bottom - room : 0, top > 0 || bottom === 0 ? top + room : 0]
}

/**
 * Return the indexes of the windows with a label: evenly spaced, far enough apart to be read, none cut off at the edge.
 */
function ticks({ labels, days }: ChartContent, width: number): number[] {
  const count = labels.length
  const least = Math.ceil((count * 68) / Math.max(width, 1))
  const step = [1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 15, 24, 30, 48, 60, 72, 120, 168, 240, 360].find((one) => one >= least)
  const halfWidth = (index: number): number => 3.5 * Math.max(labels[index].length, days?.[index].length ?? 0)
  return Array.from({ length: Math.ceil(count / (step ?? least)) }, (_, number) => number * (step ?? least)).filter(
    (index) => ((count - 0.4 - index) / (count + 0.2)) * width + PADDING >= halfWidth(index),
  )
}

function tooltip(target: HTMLElement, content: () => ChartContent): uPlot.Plugin {
  const box = document.createElement('div')
  box.className = 'mp-tip'
  box.hidden = true
  const write = (plot: uPlot): void => {
    const { title, series, parts } = content()
    const index = plot.cursor.idx
    box.hidden = index === null || index === undefined || (plot.cursor.left ?? -1) < 0
    if (box.hidden || index === null || index === undefined) return
    const heading = document.createElement('strong')
    heading.append(textElement('bdi', title(index)), ...(parts?.[index] ? [textElement('span', ` · ${parts[index]}`)] : []))
    box.replaceChildren(heading, ...rowsAt(series, index))
    const left = plot.valToPos(index, 'x')
    const beyond = left + box.offsetWidth + 16 > target.clientWidth - plot.bbox.left / devicePixelRatio
    box.style.transform = `translate(${beyond ? Math.max(left - box.offsetWidth - 12, 0) : left + 12}px, 6px)`
  }
  // `setData` too: a resting pointer must not show old numbers after a refresh.
  return { hooks: { init: (plot) => plot.over.append(box), setCursor: write, setData: write } }
}

function rowsAt(series: Series[], index: number): HTMLElement[] {
  const rows = series.flatMap((one, number) => {
    const text = one.texts[index]
    if (text === null || text === undefined) return []
    const row = document.createElement('div')
    const swatch = document.createElement('i')
    swatch.className = `mp-swatch mp-swatch-${(number % 8) + 1}`
    row.append(...(series.length > 1 ? [swatch, textElement('bdi', one.name)] : []), numberElement(text))
    return [row]
  })
  return rows.length > 0 ? rows : [textElement('div', 'no usage')]
}

function numberElement(text: string): HTMLElement {
  const element = textElement('b', text)
  element.translate = false
  return element
}

function textElement(tag: string, text: string): HTMLElement {
  const element = document.createElement(tag)
  element.textContent = text
  return element
}
