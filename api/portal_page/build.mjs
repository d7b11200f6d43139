/**
 * Build the files that Meterport serves into built/, and the React package into dist/.
 *
 * built/ is committed, so that Meterport installs without Node. Tests and CI compare it with a new build: the same sources
 * and lock file give the same bytes.
 * Usage: node build.mjs [OUT]. Both folders are created in OUT, by default in this folder.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import react from '@vitejs/plugin-react'
import { build } from 'vite'

const here = import.meta.dirname
const outRoot = resolve(process.argv[2] ?? here)
const [out, dist] = [join(outRoot, 'built'), join(outRoot, 'dist')]
const shared = { root: here, configFile: false, logLevel: 'warn', plugins: [react()] }
const target = ['chrome123', 'firefox121', 'safari17.5'] // the first versions with light-dark() and ElementInternals
const modules = new Set()
const packageNotes = { name: 'note-packages', generateBundle() { for (const id of this.getModuleIds()) modules.add(id) } }

rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })

await build({
  ...shared,
  base: './',
  plugins: [react(), packageNotes],
  build: { outDir: out, emptyOutDir: false, assetsDir: '', target, modulePreload: false, rollupOptions: { output: names('page') } },
})
relink(join(out, 'index.html'))

await build({
  ...shared,
  define: { 'process.env.NODE_ENV': '"production"' },
  build: {
    outDir: out,
    emptyOutDir: false,
    target,
    lib: { entry: join(here, 'src/element.tsx'), formats: ['iife'], name: 'Meterport', fileName: () => 'meterport-usage.js' },
  },
})
writeFileSync(join(out, 'LICENSES.txt'), licenses())

await build({
  ...shared,
  build: {
    outDir: dist,
    emptyOutDir: true,
    target,
    minify: false,
    lib: { entry: join(here, 'src/index.ts'), formats: ['es'], fileName: () => 'index.js' },
    rollupOptions: { external: /^(react|react-dom|uplot|@openmeter\/sdk)(\/|$)/, output: { banner: "'use client'" } },
  },
})
copyFileSync(join(here, 'src/style.css'), join(dist, 'style.css'))
const tsc = [join(here, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.dist.json', '--outDir', dist]
execFileSync(process.execPath, tsc, { cwd: here, stdio: 'inherit' })
for (const name of readdirSync(out).sort()) console.log(name, readFileSync(join(out, name)).length)

function names(name) {
  return { entryFileNames: `${name}-[hash].js`, assetFileNames: `${name}-[hash][extname]` }
}

/** Make the links of the page relative: the page is at /portal and its files are below it, behind any path prefix. */
function relink(path) {
  writeFileSync(path, readFileSync(path, 'utf8').replaceAll('"./page-', '"portal/page-').replaceAll(' crossorigin', ''))
}

/** Return the licence texts of the bundled packages, which these licences require. */
function licenses() {
  const names = [...modules].map((id) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1]).filter(Boolean)
  const parts = [...new Set(names)].sort().map((name) => {
    const folder = join(here, 'node_modules', name)
    const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
    return `${name} ${version} (${license})\n\n${file ? readFileSync(join(folder, file), 'utf8').trim() : 'Its licence text: see LICENSE of Meterport, which is the same.'}\n`
  })
  return `The page and the element are built with these packages.\n\n${parts.join(`\n${'-'.repeat(80)}\n\n`)}`
}
