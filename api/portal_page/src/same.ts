/**
 * Return whether two JSON values are equal. It compares member by member up to the first difference, without writing
 * either as text.
 */
export function isSame(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false
  if (Array.isArray(one) !== Array.isArray(other)) return false
  const [names, others] = [Object.keys(one), Object.keys(other)]
  return names.length === others.length && names.every((name) => Object.hasOwn(other, name) && isSame(memberOf(one, name), memberOf(other, name)))
}

function memberOf(object: object, name: string): unknown {
  return (object as Record<string, unknown>)[name]
}
