/** Scroll a row so that one of its elements is seen; nothing else moves, the page least of all. */
export function reveal(element: HTMLElement | null, row: Element | null | undefined): void {
  if (!element || !row) return
  const [inner, outer] = [element.getBoundingClientRect(), row.getBoundingClientRect()]
  if (inner.left >= outer.left && inner.right <= outer.right) return
  row.scrollLeft += (inner.left + inner.right - outer.left - outer.right) / 2
}
