// Pages link to files beside `docs/`, which are right in the repository and on a forge. The book has no such files: here
// these links lead to the forge.
"use strict";

(() => {
  const forge = "https://github.com/moorline/moorline/blob/main/";
  const depth = path_to_root.split("../").length - 1;
  for (const link of document.querySelectorAll("main a[href^='../']")) {
    const href = link.getAttribute("href");
    const [ups] = href.match(/^(\.\.\/)+/);
    if (ups.length / 3 > depth) {
      // mdBook has taken it for one of its own pages.
      link.href = forge + href.slice(ups.length).replace(/\.html(?=#|$)/, ".md");
    }
  }
})();
