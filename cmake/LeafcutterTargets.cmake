# Flags that hold for every target, and leafcutter_library(): one static library per folder, its sources found by name.

# Sums must come out the same however a function is inlined: the compiler may not fuse or reorder floating-point operations.
add_library(leafcutter_flags INTERFACE)
target_compile_options(leafcutter_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> -ffp-contract=off)
target_include_directories(leafcutter_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(leafcutter_flags INTERFACE)
if(LEAFCUTTER_SANITIZE)
  target_compile_options(leafcutter_flags INTERFACE -fsanitize=${LEAFCUTTER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(leafcutter_flags INTERFACE -fsanitize=${LEAFCUTTER_SANITIZE})
endif()
if(LEAFCUTTER_FUZZ)
  target_compile_options(leafcutter_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(leafcutter_flags INTERFACE -fsanitize=address,undefined)
endif()

# One file per instruction set: *_avx2.cpp, *_avx512.cpp; everything else is for any x86-64. GCC 12 takes its own AVX-512 headers for uses of uninitialised values.
function(leafcutter_isa_flags)
  foreach(source ${ARGN})
    if(source MATCHES "_avx2\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_avx512\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mavx2;-mfma;-mf16c;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>;-Wno-uninitialized")
    endif()
  endforeach()
endfunction()

# leafcutter_library(NAME folder-libraries-and-packages...): static library leafcutter_NAME from NAME/*.cpp.
function(leafcutter_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(NOT sources)
    add_library(leafcutter_${name} INTERFACE)
    target_link_libraries(leafcutter_${name} INTERFACE leafcutter_flags ${ARGN})
    return()
  endif()
  leafcutter_isa_flags(${sources})
  add_library(leafcutter_${name} STATIC ${sources})
  set_target_properties(leafcutter_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(leafcutter_${name} PUBLIC leafcutter_flags ${ARGN})
endfunction()

# Code that nothing waits for: a third less time to compile it, half of it with sanitizers.
function(leafcutter_not_hot target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1> "$<$<CONFIG:RelWithDebInfo>:-O1;-g1>")
endfunction()
