# CUDA programs that measure a user's own GPU. Their host-side logic is plain C++, built and tested
# everywhere; the programs are built where nvcc is found: `ninja probes`, or calibrate/probes/run.
file(GLOB probe_logic CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/calibrate/probes/*.cpp)
add_library(tessera_probe_logic STATIC ${probe_logic})
target_include_directories(tessera_probe_logic PUBLIC ${CMAKE_SOURCE_DIR})
target_link_libraries(tessera_probe_logic PRIVATE fmt::fmt CLI11::CLI11)

# Finds a library of the CUDA toolkit, or one that was installed beside it, with its header.
function(tessera_probe_library name header)
  find_path(TESSERA_PROBE_${name}_INCLUDE ${header} HINTS ${cuda_root}/include)
  find_library(TESSERA_PROBE_${name}_LIBRARY ${name} HINTS ${cuda_root}/lib64 ${cuda_root}/lib)
  if(TESSERA_PROBE_${name}_INCLUDE AND TESSERA_PROBE_${name}_LIBRARY)
    add_library(tessera_probe_${name} UNKNOWN IMPORTED GLOBAL)
    set_target_properties(tessera_probe_${name} PROPERTIES
                          IMPORTED_LOCATION ${TESSERA_PROBE_${name}_LIBRARY}
                          INTERFACE_INCLUDE_DIRECTORIES ${TESSERA_PROBE_${name}_INCLUDE})
  endif()
endfunction()

find_program(TESSERA_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
set(TESSERA_PROBE_NAMES "")  # of those that can be built here, comma-separated
if(TESSERA_SANITIZE)
  message(STATUS "CUDA probes are left out of sanitizer builds")
elseif(NOT TESSERA_NVCC)
  message(STATUS "CUDA probes are left out: no nvcc")
else()
  set(CMAKE_CUDA_COMPILER ${TESSERA_NVCC})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know nvcc 13's
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  get_filename_component(cuda_root ${TESSERA_NVCC} DIRECTORY)
  get_filename_component(cuda_root ${cuda_root} DIRECTORY)
  tessera_probe_library(cublasLt cublasLt.h)
  tessera_probe_library(cublas cublas_v2.h)
  tessera_probe_library(nccl nccl.h)
  add_subdirectory(${CMAKE_SOURCE_DIR}/calibrate/probes)
endif()
