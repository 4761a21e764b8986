# Bundles the script of report.html, with ECharts, and compiles page, style and script into the
# library tessera_reports. Node packages come from npm by the lock file, into the build tree.
find_program(NPM npm)
if(NOT NPM)
  message(FATAL_ERROR "npm is missing: the report's charts are bundled with it. "
                      "sim/quickstart and tests/run install it; by hand: apt-get install npm")
endif()

set(web_source ${CMAKE_SOURCE_DIR}/reports/web)
set(web_build ${CMAKE_BINARY_DIR}/web)
set(web_bundle ${web_build}/report.min.js)
file(GLOB web_scripts CONFIGURE_DEPENDS ${web_source}/*.js)

add_custom_command(
  OUTPUT ${web_build}/installed
  COMMAND ${CMAKE_COMMAND} -E make_directory ${web_build}
  COMMAND ${CMAKE_COMMAND} -E copy ${web_source}/package.json ${web_source}/package-lock.json ${web_build}
  COMMAND ${CMAKE_COMMAND} -E chdir ${web_build}
          ${NPM} ci --loglevel=error --ignore-scripts --prefer-offline --no-audit --no-fund
  COMMAND ${CMAKE_COMMAND} -E touch ${web_build}/installed
  DEPENDS ${web_source}/package.json ${web_source}/package-lock.json
  COMMENT "Fetching the report's node packages by their lock file" VERBATIM)
add_custom_command(
  OUTPUT ${web_bundle}
  COMMAND ${CMAKE_COMMAND} -E env NODE_PATH=${web_build}/node_modules
          ${web_build}/node_modules/.bin/esbuild ${web_source}/report.js --bundle --minify --format=iife
          --target=es2020 --charset=utf8 --legal-comments=inline --log-level=warning --outfile=${web_bundle}
  DEPENDS ${web_build}/installed ${web_scripts}
  COMMENT "Bundling the report's script" VERBATIM)

configure_file(${CMAKE_SOURCE_DIR}/reports/web_assets.cpp.in ${web_build}/web_assets.cpp @ONLY)
set_source_files_properties(${web_build}/web_assets.cpp PROPERTIES
  OBJECT_DEPENDS "${web_bundle};${web_source}/page.html;${web_source}/report.css")
target_sources(tessera_reports PRIVATE ${web_build}/web_assets.cpp)
