/** Scroll a row so that one of its elements becomes visible. Nothing else scrolls, above all not the page. */
export function reveal(element: HTMLElement | null, row: Element | null | undefined): void {
  if (!element || !row) return
  const [inner, outer] = [element.getBoundingClientRect(), row.getBoundingClientRect()]
  if (inner.left >= outer.left && inner.right <= outer.right) return
  row.scrollLeft += (inner.left + inner.right - outer.left - outer.right) / 2
}
